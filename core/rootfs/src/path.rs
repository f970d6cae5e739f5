//! Is this archive path a name that an image may hold?

use crate::{Error, PathProblem};

/// Longest component in bytes (Linux `NAME_MAX`; erofs `EROFS_NAME_LEN`).
const COMPONENT_MAX: usize = 255;

/// Splits an archive path into components: leading `/` and `./`, empty and `.` components vanish, `..`
/// is refused. An empty answer is the root itself.
pub(crate) fn components(path: &[u8], max_bytes: usize, max_depth: usize) -> Result<Vec<&[u8]>, Error> {
    let refuse = |problem| Err(Error::Path { path: path.to_vec(), problem });
    if path.len() > max_bytes {
        return refuse(PathProblem::TooLong);
    }
    if path.contains(&0) {
        return refuse(PathProblem::ZeroByte);
    }
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return refuse(PathProblem::Climbs),
            part if part.len() > COMPONENT_MAX => return refuse(PathProblem::ComponentTooLong),
            part => parts.push(part),
        }
    }
    if parts.len() > max_depth {
        return refuse(PathProblem::TooDeep);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(path: &[u8]) -> PathProblem {
        match components(path, 100, 4) {
            Err(Error::Path { problem, .. }) => problem,
            other => panic!("expected a refusal, found {other:?}"),
        }
    }

    #[test]
    fn dots_and_slashes_vanish() {
        assert_eq!(components(b"./a//b/./c/", 100, 4).unwrap(), [&b"a"[..], b"b", b"c"]);
        assert_eq!(components(b"/a", 100, 4).unwrap(), [&b"a"[..]]);
        assert!(components(b"./", 100, 4).unwrap().is_empty());
    }

    #[test]
    fn hostile_names_are_refused() {
        assert_eq!(problem(b"a/../b"), PathProblem::Climbs);
        assert_eq!(problem(b".."), PathProblem::Climbs);
        assert_eq!(problem(b"a\0b"), PathProblem::ZeroByte);
        assert_eq!(problem(b"a/b/c/d/e"), PathProblem::TooDeep);
        assert_eq!(problem(&[b'a'; 101]), PathProblem::TooLong);
        assert!(matches!(
            components(&[b'a'; 256], 1000, 4),
            Err(Error::Path { problem: PathProblem::ComponentTooLong, .. })
        ));
    }
}
