//! How are two things measured so that both meet the same machine?
//!
//! Turn by turn: whatever else the machine does, and however its clock drifts, meets both sides. Which side
//! goes first alternates, so that neither always finds the caches the other has left. A side that takes
//! microseconds runs many times per turn.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Median and extremes of some measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub minimum: f64,
    /// The greatest.
    pub maximum: f64,
}

impl Spread {
    /// The spread of `values`.
    ///
    /// # Panics
    /// If there is none, or one that is not a number.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(|a, b| a.partial_cmp(b).expect("measurements are numbers"));
        let (first, last) = (sorted.first(), sorted.last());
        let (minimum, maximum) = (*first.expect("something was measured"), *last.expect("as above"));
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Spread { median, minimum, maximum }
    }

    /// A number that does not vary.
    pub fn exactly(value: f64) -> Self {
        Spread { median: value, minimum: value, maximum: value }
    }
}

/// Both sides of one question, measured turn by turn.
#[derive(Clone, Debug)]
pub struct Pairs {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Pairs {
    /// Measures both sides `rounds` times.
    pub fn new(rounds: usize, mut ours: impl FnMut() -> f64, mut theirs: impl FnMut() -> f64) -> Self {
        let mut pairs = Pairs { ours: Vec::new(), theirs: Vec::new() };
        for round in 0..rounds {
            if round % 2 == 0 {
                pairs.ours.push(ours());
                pairs.theirs.push(theirs());
            } else {
                pairs.theirs.push(theirs());
                pairs.ours.push(ours());
            }
        }
        pairs
    }

    /// Measures how many seconds a call of each side takes.
    pub fn timed(rounds: usize, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> Self {
        let (our_batch, their_batch) = (batch(&mut ours), batch(&mut theirs));
        Pairs::new(rounds, || seconds(our_batch, &mut ours), || seconds(their_batch, &mut theirs))
    }

    /// Sides that were measured elsewhere, turn by turn.
    ///
    /// # Panics
    /// If one has more turns than the other.
    pub fn of(ours: Vec<f64>, theirs: Vec<f64>) -> Self {
        assert_eq!(ours.len(), theirs.len(), "each turn measures both sides");
        Pairs { ours, theirs }
    }

    /// Our side.
    pub fn ours(&self) -> &[f64] {
        &self.ours
    }

    /// The other side.
    pub fn theirs(&self) -> &[f64] {
        &self.theirs
    }

    /// Ours divided by theirs, turn by turn.
    pub fn ratio(&self) -> Spread {
        let ratios: Vec<f64> =
            self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect();
        Spread::of(&ratios)
    }
}

/// How many seconds `run` takes, as the mean of `batch` calls.
pub fn seconds(batch: u32, run: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..batch {
        run();
    }
    start.elapsed().as_secs_f64() / f64::from(batch)
}

/// How many calls take [`TURN`]; warms up by finding out.
pub fn batch(run: &mut impl FnMut()) -> u32 {
    let mut calls = 1;
    loop {
        let taken = seconds(calls, run) * f64::from(calls);
        if taken >= TURN.as_secs_f64() || calls >= MOST_CALLS {
            return calls;
        }
        calls *= 2;
    }
}

/// Long against the clock's own cost, short against what else the machine does.
const TURN: Duration = Duration::from_millis(2);
const MOST_CALLS: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_in_the_middle() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { median: 2.0, minimum: 1.0, maximum: 3.0 });
        assert_eq!(Spread::of(&[4.0, 1.0]).median, 2.5);
        assert_eq!(Spread::of(&[7.0]), Spread::exactly(7.0));
    }

    #[test]
    fn sides_take_turns_in_going_first() {
        let order = std::cell::RefCell::new(String::new());
        let side = |name: char| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                1.0
            }
        };
        let pairs = Pairs::new(4, side('o'), side('t'));
        assert_eq!(*order.borrow(), "ottootto");
        assert_eq!((pairs.ours().len(), pairs.theirs().len()), (4, 4));
    }

    #[test]
    fn ratios_are_taken_within_a_turn() {
        // Medians of the sides would say 1; the machine was twice as fast in one turn.
        let pairs = Pairs::of(vec![2.0, 4.0, 2.0], vec![1.0, 2.0, 4.0]);
        assert_eq!(pairs.ratio(), Spread { median: 2.0, minimum: 0.5, maximum: 2.0 });
    }
}
