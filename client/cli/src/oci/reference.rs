//! Where does an image come from?

use std::{path::PathBuf, str::FromStr};

use super::OciError;

/// What `image:` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `oci:PATH[:TAG]`: a layout in a folder, relative to the compose file.
    Layout {
        /// The folder.
        path: PathBuf,
        /// `org.opencontainers.image.ref.name`, needed if there are several.
        tag: Option<String>,
    },
    /// `oci-archive:FILE`: a layout in a tar archive, relative to the compose file.
    Archive {
        /// The file.
        path: PathBuf,
    },
    /// An image of a registry.
    Registry(oci_client::Reference),
}

impl FromStr for Reference {
    type Err = OciError;

    fn from_str(text: &str) -> Result<Self, OciError> {
        let refused = || OciError::Reference { found: text.to_owned() };
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, tag) = match rest.rsplit_once(':') {
                Some((path, tag)) if !tag.contains('/') && !tag.is_empty() => (path, Some(tag.to_owned())),
                _ => (rest, None),
            };
            if path.is_empty() {
                return Err(refused());
            }
            return Ok(Reference::Layout { path: path.into(), tag });
        }
        if let Some(path) = text.strip_prefix("oci-archive:") {
            return if path.is_empty() {
                Err(refused())
            } else {
                Ok(Reference::Archive { path: path.into() })
            };
        }
        text.parse().map(Reference::Registry).map_err(|_| refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_kinds() {
        let layout = |path: &str, tag: Option<&str>| Reference::Layout {
            path: path.into(),
            tag: tag.map(str::to_owned),
        };
        assert_eq!("oci:images/db".parse::<Reference>().unwrap(), layout("images/db", None));
        assert_eq!("oci:images/db:v1".parse::<Reference>().unwrap(), layout("images/db", Some("v1")));
        assert_eq!("oci:a:b/c".parse::<Reference>().unwrap(), layout("a:b/c", None));
        assert_eq!(
            "oci-archive:web.tar".parse::<Reference>().unwrap(),
            Reference::Archive { path: "web.tar".into() }
        );
        let Reference::Registry(nginx) = "nginx:1.27".parse().unwrap() else { panic!("a registry") };
        assert_eq!(nginx.whole(), "docker.io/library/nginx:1.27");
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["oci:", "oci-archive:", "UPPER", "", "a b"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
