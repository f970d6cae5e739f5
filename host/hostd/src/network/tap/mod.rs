//! How does a VM get a tap network, and what becomes of it?
//!
//! For hosts where the daemon is root ([`crate::network`] says what both kinds promise). The network of a VM is
//! one network namespace, one link into it and one table of rules, all named after the VM ([`names`]), and it
//! exists from before its QEMU starts until after it has ended. A daemon that was killed leaves them to the next
//! one, which goes on with those of VMs that run and removes the rest. Why it is so:
//! `docs/decisions/0011-a-namespace-per-tap.md`.

pub mod names;
pub mod plan;
mod tools;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_api::host::PublishedPort;
use casemate_api::reach::{self, Reach};
use serde::Deserialize;
use tokio::sync::Mutex;

use self::names::{Name, Owner};
use self::plan::{LinkNetwork, Outbound, Plan};
use crate::error::{Blame, Explain};
use crate::qemu::file;

/// Why there is no tap network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// A program that is needed does not run.
    #[error("cannot run {program}: {source}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// It did not do what it was told.
    #[error("{program} refused: {said}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// The first line that it said.
        said: String,
    },
    /// It did not end.
    #[error("{program} had not ended after {limit_s} s")]
    Late {
        /// Its name.
        program: &'static str,
        /// How long was waited, in seconds.
        limit_s: u64,
    },
    /// Its answer is not what it is documented to be.
    #[error("{program} answered what is no list of addresses: {source}")]
    Answer {
        /// Its name.
        program: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The namespace of a VM cannot be entered.
    #[error("cannot enter the network namespace {}: {source}", path.display())]
    Namespace {
        /// Where it should be.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A setting of the kernel cannot be changed.
    #[error("cannot write {}: {source}", path.display())]
    Setting {
        /// The setting.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The rules cannot be kept.
    #[error("cannot write {}: {source}", path.display())]
    Rules {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// This machine does not forward packets.
    #[error("this machine forwards no packets (net.ipv4.ip_forward is {found:?}, expected 1)")]
    Forwarding {
        /// What the setting says.
        found: String,
    },
    /// Nobody to ask for names.
    #[error("no resolver for guests: /etc/resolv.conf names none that is IPv4 and not on loopback")]
    NoResolver,
    /// A resolver that a namespace cannot reach.
    #[error("resolver {found}; expected one that is IPv4 and not on loopback")]
    Resolver {
        /// What the operator said.
        found: SocketAddr,
    },
    /// Every link network overlaps something.
    #[error("no four addresses of 198.18.0.0/15 are free for the link to a VM")]
    NoLinkNetwork,
    /// Links of two VMs would have one name.
    #[error("the tap networks of VMs {id:?} and {other:?} would have the same name")]
    SameName {
        /// The new VM.
        id: String,
        /// The one that is here.
        other: String,
    },
}

impl Explain for TapError {
    fn explain(&self) -> (&'static str, Blame, &'static str) {
        match self {
            Self::Program { .. } => {
                ("program_missing", Blame::Host, "install it (Debian: iproute2, nftables)")
            }
            Self::Refused { .. } | Self::Namespace { .. } | Self::Setting { .. } => (
                "tap_refused",
                Blame::Host,
                "run casemate-hostd as root with /dev/net/tun and nf_tables, or with `--network user`",
            ),
            Self::Late { .. } | Self::Answer { .. } | Self::Rules { .. } => {
                ("tap_failed", Blame::Host, "run the program by hand to see why, and look at `dmesg`")
            }
            Self::Forwarding { .. } => (
                "tap_forwarding",
                Blame::Host,
                "run `sysctl -w net.ipv4.ip_forward=1` and keep it in /etc/sysctl.d; check first what else this \
                 machine would then forward",
            ),
            Self::NoResolver | Self::Resolver { .. } => {
                ("tap_resolver", Blame::Host, "name one: `--resolver ADDRESS:53`")
            }
            Self::NoLinkNetwork => {
                ("tap_addresses", Blame::Host, "remove the route that covers 198.18.0.0/15: `ip route`")
            }
            Self::SameName { .. } => ("vm_id", Blame::Request, "choose another id"),
        }
    }
}

/// The tap networks of one daemon.
#[derive(Debug, Clone)]
pub struct Taps {
    owner: Owner,
    reach: Reach,
    resolver: Option<SocketAddr>,
    /// One link network is chosen at a time.
    choosing: Arc<Mutex<()>>,
}

impl Taps {
    /// The tap networks of the daemon with this state folder. `reach` is what guests reach beyond public
    /// addresses, `resolver` who resolves names for them; by default the first fit one of the host's.
    ///
    /// # Errors
    /// [`TapError::Resolver`].
    pub fn new(state: &Path, reach: Reach, resolver: Option<SocketAddr>) -> Result<Self, TapError> {
        if let Some(found) = resolver.filter(|resolver| !is_fit(*resolver)) {
            return Err(TapError::Resolver { found });
        }
        Ok(Self { owner: Owner::of(state), reach, resolver, choosing: Arc::default() })
    }

    /// Whether this machine can have them now: rights, programs, forwarding.
    ///
    /// # Errors
    /// Those of programs; [`TapError::Forwarding`].
    pub async fn check(&self) -> Result<(), TapError> {
        tools::run("ip", &["-Version"], "").await?;
        tools::run("nft", &["list", "tables"], "").await?;
        let found = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
        match found.trim() {
            "1" => Ok(()),
            found => Err(TapError::Forwarding { found: found.to_owned() }),
        }
    }

    /// What the network of a VM is called.
    pub(crate) fn name(&self, id: &str) -> Name {
        self.owner.name(id)
    }

    /// Sets up the network of the VM in `folder`, in place of one that may be there. Its rules stand before its
    /// link does.
    ///
    /// # Errors
    /// Each variant of [`TapError`].
    pub(crate) async fn start(
        &self,
        id: &str,
        folder: &Path,
        outbound: bool,
        published: &[PublishedPort],
    ) -> Result<(), TapError> {
        self.check().await?;
        let name = self.name(id);
        self.remove(name).await?;
        let _one = self.choosing.lock().await;
        let plan = Plan {
            name,
            link: free_link_network().await?,
            published: published.to_vec(),
            outbound: outbound.then(|| self.outbound()).transpose()?,
        };
        let set_up = self.set_up(&plan, &folder.join(file::HOST_RULES)).await;
        if set_up.is_err() {
            let _ = self.remove(name).await;
        }
        set_up
    }

    async fn set_up(&self, plan: &Plan, rules: &Path) -> Result<(), TapError> {
        let link = plan.name.link();
        fs::write(rules, plan.host_rules())
            .map_err(|source| TapError::Rules { path: rules.to_owned(), source })?;
        apply(rules).await?;
        tools::run("ip", &["netns", "add", &link], "").await?;
        tools::inside(plan.name, settle)??;
        tools::run_inside(plan.name, "nft", &["-f", "-"], &plan.guest_rules()).await?;
        tools::run("ip", &["-batch", "-"], &plan.links()).await?;
        if plan.is_published_on_loopback() {
            // Answers to the host's own programs come from elsewhere to 127.0.0.1. Of a guest's packets to it
            // none leaves its namespace, which has a loopback of its own.
            tools::set(&format!("net/ipv4/conf/{link}/route_localnet"), "1")?;
        }
        tools::run_inside(plan.name, "ip", &["-batch", "-"], &plan.inside()).await?;
        Ok(())
    }

    /// Removes the network of a VM, as far as it is there. Its QEMU must have ended.
    ///
    /// # Errors
    /// Those of programs.
    pub(crate) async fn stop(&self, id: &str) -> Result<(), TapError> {
        self.remove(self.name(id)).await
    }

    async fn remove(&self, name: Name) -> Result<(), TapError> {
        // Both ends of the link go with one; rules last, so that nothing passes without them.
        if links().await?.contains(&name.link()) {
            tools::run("ip", &["link", "delete", &name.link()], "").await?;
        }
        if tools::namespace(name).exists() {
            tools::run("ip", &["netns", "delete", &name.link()], "").await?;
        }
        let table = name.table();
        tools::run("nft", &["-f", "-"], &format!("table inet {table} {{\n}}\ndelete table inet {table}\n"))
            .await?;
        Ok(())
    }

    /// Whether the VM's rules are still in force on the host; puts them back if not.
    ///
    /// # Errors
    /// Those of programs.
    pub(crate) async fn keep(&self, id: &str, folder: &Path) -> Result<Kept, TapError> {
        if tables().await?.contains(&self.name(id).table()) {
            return Ok(Kept::InForce);
        }
        apply(&folder.join(file::HOST_RULES)).await?;
        Ok(Kept::PutBack)
    }

    /// Removes every network of this owner whose VM is not one of `running`.
    ///
    /// # Errors
    /// Those of programs.
    pub(crate) async fn sweep(&self, running: &[String]) -> Result<(), TapError> {
        let namespaces = fs::read_dir(tools::NAMESPACES).into_iter().flatten().flatten();
        let mut found: Vec<String> =
            namespaces.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        found.extend(links().await?);
        found.extend(tables().await?);
        let mut names: Vec<Name> = found.iter().filter_map(|found| self.owner.recognise(found)).collect();
        names.sort_by_key(Name::link);
        names.dedup();
        for name in names {
            if running.iter().all(|id| self.name(id) != name) {
                tracing::info!(link = name.link(), "removing the network of a VM that does not run");
                self.remove(name).await?;
            }
        }
        Ok(())
    }

    /// Runs `start` where the VM's QEMU belongs.
    ///
    /// # Errors
    /// [`TapError::Namespace`].
    pub(crate) fn inside<T: Send>(&self, id: &str, start: impl FnOnce() -> T + Send) -> Result<T, TapError> {
        tools::inside(self.name(id), start)
    }

    fn outbound(&self) -> Result<Outbound, TapError> {
        let resolver = match self.resolver {
            Some(resolver) => Some(resolver),
            None => RESOLVER_FILES.iter().find_map(|path| {
                reach::name_servers(&fs::read_to_string(path).ok()?).find(|server| is_fit(*server))
            }),
        };
        match resolver {
            Some(SocketAddr::V4(resolver)) => Ok(Outbound { reach: self.reach.clone(), resolver }),
            _ => Err(TapError::NoResolver),
        }
    }
}

/// What became of rules that were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// They are there.
    InForce,
    /// They were gone.
    PutBack,
}

/// systemd-resolved puts its own loopback address into the first, and those it asks into the second.
const RESOLVER_FILES: &[&str] = &["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

fn is_fit(resolver: SocketAddr) -> bool {
    match resolver {
        SocketAddr::V4(resolver) => !reach::NEVER.iter().any(|network| network.contains(*resolver.ip())),
        SocketAddr::V6(_) => false,
    }
}

/// Writes the settings of the namespace in which it runs.
fn settle() -> Result<(), TapError> {
    for (path, value) in plan::SETTINGS {
        tools::set(path, value)?;
    }
    for (path, value) in plan::SETTINGS_IF_PRESENT {
        if Path::new("/proc/sys").join(path).exists() {
            tools::set(path, value)?;
        }
    }
    Ok(())
}

async fn apply(rules: &Path) -> Result<(), TapError> {
    let text =
        fs::read_to_string(rules).map_err(|source| TapError::Rules { path: rules.to_owned(), source })?;
    tools::run("nft", &["-f", "-"], &text).await?;
    Ok(())
}

/// Names of the links in hostd's namespace.
async fn links() -> Result<Vec<String>, TapError> {
    #[derive(Deserialize)]
    struct Found {
        ifname: String,
    }
    let found: Vec<Found> = asked(&["-json", "link", "show"]).await?;
    Ok(found.into_iter().map(|link| link.ifname).collect())
}

/// Names of the tables of the `inet` family in hostd's namespace.
async fn tables() -> Result<Vec<String>, TapError> {
    let listed = tools::run("nft", &["list", "tables", "inet"], "").await?;
    Ok(listed.lines().filter_map(|line| Some(line.strip_prefix("table inet ")?.trim().to_owned())).collect())
}

/// The first link network that no route and no address of the host touches.
async fn free_link_network() -> Result<LinkNetwork, TapError> {
    #[derive(Deserialize)]
    struct Found {
        dst: String,
    }
    let routes: Vec<Found> = asked(&["-json", "-4", "route", "show", "table", "all"]).await?;
    let taken: Vec<(Ipv4Addr, u8)> = routes.iter().filter_map(|route| destination(&route.dst)).collect();
    (0..LinkNetwork::COUNT)
        .filter_map(LinkNetwork::new)
        .find(|network| !taken.iter().any(|(address, prefix)| network.overlaps(*address, *prefix)))
        .ok_or(TapError::NoLinkNetwork)
}

/// A route's network; nothing for the default route, which every other precedes.
fn destination(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
    Some((address.parse().ok()?, prefix.parse().ok()?))
}

async fn asked<T: for<'a> Deserialize<'a>>(arguments: &[&str]) -> Result<T, TapError> {
    let answer = tools::run("ip", arguments, "").await?;
    serde_json::from_str(&answer).map_err(|source| TapError::Answer { program: "ip", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_one_that_namespaces_reach() {
        let fit = |text: &str| is_fit(text.parse().unwrap());
        assert!(fit("192.0.2.53:53") && fit("192.168.1.1:53"));
        for unfit in ["127.0.0.53:53", "0.0.0.0:53", "10.0.2.3:53", "[2001:db8::1]:53"] {
            assert!(!fit(unfit), "{unfit}");
            let refused = Taps::new(Path::new("/state"), Reach::default(), Some(unfit.parse().unwrap()));
            assert!(matches!(refused, Err(TapError::Resolver { found }) if found.to_string() == unfit));
        }
    }

    #[test]
    fn routes_are_read() {
        assert_eq!(destination("198.18.0.0/15"), Some(([198, 18, 0, 0].into(), 15)));
        assert_eq!(destination("192.0.2.7"), Some(([192, 0, 2, 7].into(), 32)));
        assert_eq!(destination("default"), None);
    }
}
