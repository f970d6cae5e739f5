//! Which states has a VM, and what may follow what?
//!
//! A pure table: the store asks it inside the transaction that writes the new state, so an illegal
//! step is refused whoever asks and whenever the process dies.

use std::fmt;

/// Where a VM stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Accepted and written down; nothing is on a host yet.
    Defined,
    /// The host has been asked to boot it; it has not said that its workload is ready.
    Starting,
    /// The guest said that its workload is ready.
    Running,
    /// The host has been asked to stop it.
    Stopping,
    /// No guest runs; its disks are kept.
    Stopped,
    /// The guest or the host gave up; the reason is kept beside the state.
    Failed,
    /// Being removed from its host.
    Removing,
    /// Gone; kept as a row so that its id is never used again.
    Removed,
}

impl State {
    /// Every state.
    pub const ALL: [State; 8] = [
        State::Defined,
        State::Starting,
        State::Running,
        State::Stopping,
        State::Stopped,
        State::Failed,
        State::Removing,
        State::Removed,
    ];

    /// The word that is stored and shown.
    pub const fn word(self) -> &'static str {
        match self {
            State::Defined => "defined",
            State::Starting => "starting",
            State::Running => "running",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Failed => "failed",
            State::Removing => "removing",
            State::Removed => "removed",
        }
    }

    /// The state named by `word`, if there is one.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What happens to a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Somebody asked for it to run.
    StartRequested,
    /// The guest reported that its workload is ready.
    GuestReady,
    /// Somebody asked for it to stop.
    StopRequested,
    /// The host reports that no guest runs, after a stop.
    HostStopped,
    /// The guest or the host reports a failure, or the guest went away unasked.
    GuestFailed,
    /// Somebody asked for it to be removed.
    RemoveRequested,
    /// The host has nothing of it any more.
    HostRemoved,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 7] = [
        Event::StartRequested,
        Event::GuestReady,
        Event::StopRequested,
        Event::HostStopped,
        Event::GuestFailed,
        Event::RemoveRequested,
        Event::HostRemoved,
    ];
}

/// A step that does not follow from where the VM stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} does not follow from state `{state}`; allowed here: {allowed}", allowed = Allowed(*.state))]
pub struct IllegalTransition {
    /// Where the VM stands.
    pub state: State,
    /// What was asked or reported.
    pub event: Event,
}

struct Allowed(State);

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for event in Event::ALL {
            if next(self.0, event).is_ok() {
                write!(f, "{separator}{event:?}")?;
                separator = ", ";
            }
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}

/// The state after `event`.
///
/// Repeating a request that is already being served is no error and changes nothing; that is what
/// makes a command safe to send again after a lost answer.
///
/// # Errors
/// [`IllegalTransition`] names state and event.
pub fn next(state: State, event: Event) -> Result<State, IllegalTransition> {
    use Event::*;
    use State::*;
    Ok(match (state, event) {
        (Defined | Stopped | Failed, StartRequested) => Starting,
        (Starting | Running, StartRequested) => state,

        (Starting | Running, GuestReady) => Running,

        (Starting | Running, StopRequested) => Stopping,
        (Stopping | Stopped, StopRequested) => state,

        (Stopping | Stopped, HostStopped) => Stopped,

        // While stopping, a guest that dies has stopped.
        (Stopping, GuestFailed) => Stopped,
        (Starting | Running | Failed, GuestFailed) => Failed,

        (Defined | Stopped | Failed | Starting | Running | Stopping, RemoveRequested) => Removing,
        (Removing | Removed, RemoveRequested) => state,

        (Removing | Removed, HostRemoved) => Removed,

        (state, event) => return Err(IllegalTransition { state, event }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let mut table = String::new();
        for state in State::ALL {
            for event in Event::ALL {
                let after = next(state, event).map_or("refused".to_owned(), |state| state.to_string());
                table.push_str(&format!("{state} + {event:?} = {after}\n"));
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn nothing_leaves_removed() {
        for event in Event::ALL {
            assert!(matches!(next(State::Removed, event), Ok(State::Removed) | Err(_)));
        }
    }

    #[test]
    fn requests_may_be_repeated() {
        for state in State::ALL {
            for event in [Event::StartRequested, Event::StopRequested, Event::RemoveRequested] {
                if let Ok(after) = next(state, event) {
                    assert_eq!(next(after, event), Ok(after), "{state} {event:?}");
                }
            }
        }
    }

    #[test]
    fn a_refusal_says_what_is_allowed() {
        let refused = next(State::Removed, Event::StartRequested).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "StartRequested does not follow from state `removed`; allowed here: RemoveRequested, HostRemoved"
        );
    }

    #[test]
    fn words_go_both_ways() {
        for state in State::ALL {
            assert_eq!(State::from_word(state.word()), Some(state));
        }
    }
}
