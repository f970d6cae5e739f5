//! Whom does a container run as?
//!
//! `uid`, `uid:gid`, `name` or `name:group`, looked up in the image's own `/etc/passwd` and
//! `/etc/group`, never in the guest's.

/// A user as the kernel knows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Main group's number.
    pub gid: u32,
    /// Further groups, rising.
    pub groups: Vec<u32>,
    /// Home folder; `/` if the image knows none.
    pub home: String,
}

/// Why a user cannot be told.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A name that the image does not define.
    #[error("user {found:?} is not in the image's /etc/passwd; use its number, or add it to the image")]
    NoSuchUser {
        /// The name.
        found: String,
    },
    /// A group name that the image does not define.
    #[error("group {found:?} is not in the image's /etc/group; use its number, or add it to the image")]
    NoSuchGroup {
        /// The name.
        found: String,
    },
}

/// Finds `wanted` (empty: root) in the text of the image's `/etc/passwd` and `/etc/group`.
///
/// # Errors
/// [`Error::NoSuchUser`], [`Error::NoSuchGroup`]; a number needs no entry.
pub fn find(wanted: &str, passwd: &str, group: &str) -> Result<User, Error> {
    let (name, group_name) = match wanted.split_once(':') {
        Some((name, group_name)) => (name, Some(group_name)),
        None => (wanted, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = passwd.lines().filter_map(Entry::parse).find(|entry| entry.is(name));
    let (uid, own_gid, home) = match (&entry, name.parse::<u32>()) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home),
        (None, Ok(uid)) => (uid, 0, "/"),
        (None, Err(_)) => return Err(Error::NoSuchUser { found: name.to_owned() }),
    };
    let gid = match group_name {
        Some(group_name) => group_number(group_name, group)?,
        None => own_gid,
    };
    // As Docker: an explicit group means that one only.
    let groups = match (group_name, &entry) {
        (None, Some(entry)) => memberships(entry.name, gid, group),
        _ => vec![],
    };
    let home = if home.is_empty() { "/" } else { home };
    Ok(User { uid, gid, groups, home: home.to_owned() })
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Entry<'a> {
    /// `name:password:uid:gid:comment:home:shell` (passwd(5)); other lines are skipped.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("/");
        Some(Entry { name, uid, gid, home })
    }

    /// A name wins over a number, as in Docker.
    fn is(&self, wanted: &str) -> bool {
        self.name == wanted || wanted.parse() == Ok(self.uid)
    }
}

/// `name:password:gid:member,member` (group(5)).
fn group_fields(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or("")))
}

fn group_number(wanted: &str, group: &str) -> Result<u32, Error> {
    let found = group.lines().filter_map(group_fields).find(|(name, _, _)| *name == wanted);
    match (found, wanted.parse()) {
        (Some((_, gid, _)), _) => Ok(gid),
        (None, Ok(gid)) => Ok(gid),
        (None, Err(_)) => Err(Error::NoSuchGroup { found: wanted.to_owned() }),
    }
}

fn memberships(name: &str, main_gid: u32, group: &str) -> Vec<u32> {
    let of_name = |members: &str| members.split(',').any(|member| member == name);
    let groups: std::collections::BTreeSet<u32> = group
        .lines()
        .filter_map(group_fields)
        .filter(|(_, gid, members)| *gid != main_gid && of_name(members))
        .map(|(_, gid, _)| gid)
        .collect();
    groups.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# a comment\npostgres:x:999:998::/var/lib/postgresql:\n";
    const GROUP: &str = "root:x:0:\ntls:x:101:postgres,www\nadm:x:4:postgres\npostgres:x:998:\n";

    fn user(uid: u32, gid: u32, groups: &[u32], home: &str) -> User {
        User { uid, gid, groups: groups.to_vec(), home: home.into() }
    }

    #[test]
    fn each_spelling_is_found() {
        let table = [
            ("", user(0, 0, &[], "/root")),
            ("0", user(0, 0, &[], "/root")),
            ("postgres", user(999, 998, &[4, 101], "/var/lib/postgresql")),
            ("999", user(999, 998, &[4, 101], "/var/lib/postgresql")),
            ("postgres:tls", user(999, 101, &[], "/var/lib/postgresql")),
            ("1000", user(1000, 0, &[], "/")),
            ("1000:1000", user(1000, 1000, &[], "/")),
            ("1000:tls", user(1000, 101, &[], "/")),
        ];
        for (wanted, expected) in table {
            assert_eq!(find(wanted, PASSWD, GROUP).unwrap(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!(find("nobody", PASSWD, GROUP), Err(Error::NoSuchUser { found: "nobody".into() }));
        assert_eq!(find("root:wheel", PASSWD, GROUP), Err(Error::NoSuchGroup { found: "wheel".into() }));
        assert_eq!(find("postgres", "", ""), Err(Error::NoSuchUser { found: "postgres".into() }));
        assert_eq!(find("-1", PASSWD, GROUP), Err(Error::NoSuchUser { found: "-1".into() }));
    }

    #[test]
    fn an_image_without_passwd_runs_as_root() {
        assert_eq!(find("", "", "").unwrap(), user(0, 0, &[], "/"));
    }
}
