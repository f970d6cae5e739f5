//! What a host can do to an app that runs: one deployment, many boots.
//!
//! The order matters: each attack leaves the app as the next one needs it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use casemate_crypto::{hash::Sha256, sign::PublicKey};
use casemate_record::RosterChain;
use casemate_release::message::{SeatRequest, transcript};
use casemate_tests::{findings::Findings, machine::Machine, processes::wait_until, services::Services};

use crate::{
    agent_messages, clones, disk_full, image_layer, key_leak, old_sectors, secrets_replay, target::Target,
};

/// Everything that the families share.
pub(crate) struct Running {
    pub(crate) target: Target,
    pub(crate) services: Services,
    pub(crate) turnstile: Arc<Turnstile>,
}

pub(crate) fn attack() {
    let machine = Machine::new();
    let turnstile = Arc::new(Turnstile::default());
    let gate = turnstile.clone();
    let services = Services::start(&machine, Arc::new(move |body| gate.pass(body)));
    let mut findings = Findings::new();

    let target = key_leak::up_while_the_command_line_is_searched(machine, &services, &mut findings);
    let running = Running { target, services, turnstile };
    key_leak::attack(&running, &mut findings);
    agent_messages::attack(&running, &mut findings);
    let first = secrets_replay::before_a_restart(&running, &mut findings);
    let old = old_sectors::write_the_first_time(&running, &mut findings);
    running.target.start();
    secrets_replay::after_a_restart(&running, &first, &mut findings);
    old_sectors::write_the_second_time(&running, &mut findings);
    disk_full::fill_the_volume(&running, &mut findings);
    running.target.stop();
    old_sectors::splice(&running, &old);
    running.target.start();
    old_sectors::read_what_was_spliced(&running, &mut findings);
    disk_full::free_the_volume(&running, &mut findings);
    let winner = clones::attack(&running, &mut findings);
    image_layer::attack_while_it_runs(&running.target, &winner, &mut findings);
    findings.finish();
}

/// Lets the first step of guests' volumes through one by one, while it is closed.
#[derive(Default)]
pub(crate) struct Turnstile {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    closed_at: Option<PublicKey>,
    /// Requests for keys since it was closed, in order: each is a session, if it is granted.
    sessions: Vec<Sha256>,
    waiting: BTreeSet<Sha256>,
    allowed: BTreeSet<Sha256>,
}

impl Turnstile {
    /// From now on every `Prepare` waits until it is allowed.
    pub(crate) fn close(&self, roster: &[u8]) {
        let chain = RosterChain::from_bytes(roster).expect("the seat's roster");
        let roster = chain.verify(&chain.genesis.kms_id()).expect("a chain from its own genesis");
        *self.lock() = Inner { closed_at: Some(roster.seats[0].signing), ..Inner::default() };
    }

    /// Waits until this many guests wait.
    pub(crate) fn wait_for(&self, guests: usize) {
        wait_until("the guests at the turnstile", 150, || self.lock().waiting.len() >= guests);
    }

    /// Lets the guest through that asked for its keys last.
    pub(crate) fn allow_last(&self) {
        let mut inner = self.lock();
        let last = inner.sessions.iter().rev().find(|session| inner.waiting.contains(*session)).copied();
        inner.allowed.extend(last);
        drop(inner);
        self.changed.notify_all();
    }

    /// Lets everyone through.
    pub(crate) fn open(&self) {
        self.lock().closed_at = None;
        self.changed.notify_all();
    }

    /// What the tap does with each request to the seat.
    fn pass(&self, body: &[u8]) {
        let mut inner = self.lock();
        let Some(seat) = inner.closed_at else { return };
        match SeatRequest::from_bytes(body) {
            Ok(SeatRequest::Release(_)) => inner.sessions.push(transcript(&seat, body)),
            Ok(SeatRequest::Prepare(step)) => {
                inner.waiting.insert(step.session);
                while inner.closed_at.is_some() && !inner.allowed.contains(&step.session) {
                    inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
                }
                inner.waiting.remove(&step.session);
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
