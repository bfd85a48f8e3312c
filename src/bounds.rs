//! The limits that a program passes down, from a handle to everything that is started from it: a deadline, and cancellers.
//!
//! A client handle has bounds, and so have all databases, collections, actions and cursors that come from it. The executor
//! applies them to each operation, except to those that clean up, such as `killCursors`.

use std::sync::Arc;
use std::time::Instant;

use crate::cancel::Canceller;

/// The limits that apply to everything that is started from a handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    deadline: Option<Instant>,
    /// The cancellers, each of which ends an operation.
    cancellers: Option<Arc<[Canceller]>>,
}

impl Bounds {
    /// Bounds that limit nothing.
    pub(crate) const NONE: &Self = &Self {
        deadline: None,
        cancellers: None,
    };

    /// The instant after which no further command is sent, if there is one.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The cancellers, each of which ends an operation.
    pub(crate) fn cancellers(&self) -> &[Canceller] {
        self.cancellers.as_deref().unwrap_or_default()
    }

    /// The same bounds with a deadline. The earlier of two deadlines counts.
    pub(crate) fn until(&self, deadline: Instant) -> Self {
        let deadline = self.deadline.map_or(deadline, |own| own.min(deadline));
        Self {
            deadline: Some(deadline),
            cancellers: self.cancellers.clone(),
        }
    }

    /// The same bounds with another canceller.
    pub(crate) fn cancelled_by(&self, canceller: &Canceller) -> Self {
        let all = self.cancellers().iter().chain([canceller]);
        Self {
            deadline: self.deadline,
            cancellers: Some(all.cloned().collect()),
        }
    }

    /// These bounds and those of `inner`, together.
    pub(crate) fn and(&self, inner: &Self) -> Self {
        let with_deadline = match inner.deadline {
            Some(deadline) => self.until(deadline),
            None => self.clone(),
        };
        let cancellers = inner.cancellers().iter();
        cancellers.fold(with_deadline, |bounds, canceller| {
            bounds.cancelled_by(canceller)
        })
    }

    /// Returns true if nothing is limited.
    pub(crate) fn is_empty(&self) -> bool {
        self.deadline.is_none() && self.cancellers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earlier_deadline_counts() {
        let early = Instant::now();
        let late = early + Duration::from_secs(1);
        let none = Bounds::default();
        assert!(none.is_empty() && Bounds::NONE.is_empty());
        for (first, second) in [(early, late), (late, early)] {
            let bounds = none.until(first).until(second);
            assert_eq!(bounds.deadline(), Some(early));
            let together = none.until(first).and(&none.until(second));
            assert_eq!(together.deadline(), Some(early));
        }
        assert_eq!(none.until(late).and(&none).deadline(), Some(late));
        assert_eq!(none.and(&none.until(late)).deadline(), Some(late));
    }

    #[test]
    fn each_canceller_counts() {
        let [one, two] = [(); 2].map(|()| Canceller::new());
        let none = Bounds::default();
        let bounds = none.cancelled_by(&one).and(&none.cancelled_by(&two));
        assert!(!bounds.is_empty() && bounds.deadline().is_none());
        let cancelled = |bounds: &Bounds| -> Vec<bool> {
            let cancellers = bounds.cancellers().iter();
            cancellers.map(Canceller::is_cancelled).collect()
        };
        assert_eq!(cancelled(&bounds), [false, false]);
        two.cancel();
        assert_eq!(cancelled(&bounds.until(Instant::now())), [false, true]);
    }
}
