//! A machine judged by both cryptographic back ends.

use casemate_crypto::{AwsLc, Provider, RustCrypto};
use casemate_evidence::intel::Quote;
use casemate_verify::intel::{AuthenticateError as E, ChainError as C, DocumentError as D};
use casemate_verify::{Roots, tdx};

use crate::support::NOW_MS;
use crate::support::intel::Machine;

pub(crate) fn roots() -> Roots {
    Roots::builtin().with_simulated([Machine::tdx().simulated_root()])
}

pub(crate) fn run_with(machine: &Machine, provider: &dyn Provider) -> Result<tdx::Genuine, E> {
    let quote = Quote::parse(&machine.quote()).expect("a quote");
    tdx::authenticate(quote, &machine.collateral(), &roots(), NOW_MS, provider)
}

pub(crate) fn run(machine: &Machine) -> Result<tdx::Genuine, E> {
    let answer = run_with(machine, &AwsLc);
    let other = run_with(machine, &RustCrypto);
    assert_eq!(answer.as_ref().err(), other.as_ref().err(), "the back ends disagree");
    answer
}

pub(crate) fn refused(change: impl FnOnce(&mut Machine)) -> E {
    let mut machine = Machine::tdx();
    change(&mut machine);
    run(&machine).expect_err("one thing was changed")
}

pub(crate) fn document(error: C) -> Option<E> {
    Some(E::Collateral(D::Chain(error)))
}

pub(crate) fn chain(error: C) -> Option<E> {
    Some(E::Chain(error))
}
