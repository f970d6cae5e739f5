//! Which fields does a struct have?
#![allow(unused_macros, unused_imports)] // each test file uses its part

/// Names every field of a struct, and fails to compile when there is a new one.
macro_rules! fields {
    ($type:path { $($field:ident),* $(,)? }) => {{
        #[allow(unused_variables, dead_code)]
        fn complete(value: $type) {
            let $type { $($field),* } = value;
        }
        [$(stringify!($field)),*]
    }};
}
pub(crate) use fields;
