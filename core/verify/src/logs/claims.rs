//! What do the logs say, and how do people read it?

use serde::Serialize;

use crate::eventlog::SecureBoot;
use crate::verdict::Code;

/// What the logs state that came along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Of the event log.
    pub events: Option<Events>,
    /// Of the list of the running kernel.
    pub ima: Option<Ima>,
}

/// Of an event log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Events {
    /// How many events extended the registers that it explains.
    pub count: usize,
    /// Registers whose signed value it explains, by number: PCRs, or RTMRs.
    pub explained: Vec<u32>,
    /// Registers that are signed, not in their first state, and that it does not explain.
    pub unexplained: Vec<u32>,
    /// Whether the firmware enforced secure boot.
    pub secure_boot: SecureBoot,
}

/// Of a list of the running kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ima {
    /// Entries that the quote vouches for.
    pub entries: usize,
    /// Entries behind them, which no quote vouches for yet.
    pub later: usize,
}

impl Claims {
    /// What an accepted group says in one line.
    pub(crate) fn summary(&self, code: Code) -> String {
        match (code, &self.events, &self.ima) {
            (Code::Events, Some(events), _) => {
                let boot = match events.secure_boot {
                    SecureBoot::On => "secure boot on",
                    SecureBoot::Off => "secure boot OFF",
                    SecureBoot::NotShown => "secure boot not shown",
                };
                let unexplained = match events.unexplained.as_slice() {
                    [] => String::new(),
                    list => format!(", unexplained {}", numbers(list)),
                };
                let explained = numbers(&events.explained);
                format!("{} events explain register {explained}{unexplained}; {boot}", events.count)
            }
            (Code::Ima, _, Some(ima)) => {
                let later = if ima.later == 0 { String::new() } else { format!(", {} later", ima.later) };
                format!("{} entries of the running kernel{later}", ima.entries)
            }
            _ => "did not come along".to_owned(),
        }
    }
}

fn numbers(list: &[u32]) -> String {
    list.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}
