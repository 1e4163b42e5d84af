//! Confirmed legs on their way to the ledger's rows, many in one commit.
//!
//! A mark is not urgent: the leg is safe in RabbitMQ, and one that is lost with the process costs a repeated message, which whoever runs the leg
//! drops. A commit of its own for each would cost the disk as much as accepting the deliveries did. So marks are gathered for a moment; nobody who
//! waits for the confirm waits for them.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    ledger::{Ledger, LedgerError, Mark},
    tasks::Tasks,
};

/// How long marks are gathered: short beside a run, long beside a commit.
const GATHERED_FOR: Duration = Duration::from_millis(5);

/// Writes marks; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    ledger: Ledger,
    tasks: Tasks,
    gathered: Arc<Mutex<Gathered>>,
}

#[derive(Debug, Default)]
struct Gathered {
    marks: Vec<Gathering>,
    /// A task is under way that will write what is gathered.
    is_writing: bool,
}

/// A mark, and who is told what became of it.
type Gathering = (Mark, oneshot::Sender<Result<(), LedgerError>>);

impl Marks {
    /// None yet.
    pub(super) fn new(ledger: &Ledger, tasks: &Tasks) -> Self {
        Self { ledger: ledger.clone(), tasks: tasks.clone(), gathered: Arc::default() }
    }

    /// Has the ledger note that RabbitMQ has a leg, and waits until it is committed.
    ///
    /// # Errors
    /// The ledger's own, to everybody whose mark was in that commit.
    pub(super) async fn mark(&self, mark: Mark) -> Result<(), LedgerError> {
        let (sender, written) = oneshot::channel();
        let begins = {
            let mut gathered = self.gathered();
            gathered.marks.push((mark, sender));
            !mem::replace(&mut gathered.is_writing, true)
        };
        if begins {
            self.tasks.spawn("marks", self.clone().write());
        }
        written.await.unwrap_or_else(|_| Err(LedgerError::Failed("the mark was dropped".to_owned())))
    }

    /// Writes until nothing is gathered.
    async fn write(self) {
        loop {
            tokio::time::sleep(GATHERED_FOR).await;
            let Some(gathered) = self.take() else { return };
            let (marks, told): (Vec<_>, Vec<_>) = gathered.into_iter().unzip();
            let written = self.ledger.relayed(marks).await;
            for sender in told {
                drop(sender.send(written.clone()));
            }
        }
    }

    /// What is gathered. Where it is nothing, the next mark begins anew.
    fn take(&self) -> Option<Vec<Gathering>> {
        let mut gathered = self.gathered();
        gathered.is_writing = !gathered.marks.is_empty();
        gathered.is_writing.then(|| mem::take(&mut gathered.marks))
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;
    use crate::broker::amqp::tests::relaying;

    #[tokio::test]
    async fn marks_that_come_while_others_are_written_are_written_after_them() {
        const LEGS: usize = 40;
        let dir = tempfile::tempdir().unwrap();
        let ledger = relaying(dir.path(), LEGS).await;
        let (tasks, mut told) = (Tasks::new(), JoinSet::new());
        let marks = Marks::new(&ledger, &tasks);
        let mut delivery = None;
        for number in 1..=LEGS {
            let outbound = ledger.next_outbound().await.unwrap();
            delivery = Some(outbound.leg.delivery);
            let marks = marks.clone();
            told.spawn(async move { marks.mark(outbound.mark()).await });
            // One of these finds a commit under way, the next after them finds that all is written.
            if number % 10 == 0 {
                told.join_next().await.unwrap().unwrap().unwrap();
            }
            while let Some(marked) = told.try_join_next() {
                marked.unwrap().unwrap();
            }
            if number % 20 == 0 {
                while let Some(marked) = told.join_next().await {
                    marked.unwrap().unwrap();
                }
            }
        }
        assert_eq!(ledger.unconfirmed_legs(delivery.unwrap()).await.unwrap(), 0);
        assert_eq!(tasks.stop(Duration::from_secs(5)).await, 0, "nothing is written for ever");
        ledger.close().await;
    }

    #[tokio::test]
    async fn everybody_is_told_when_marks_cannot_be_written_and_the_next_are_tried_anew() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = relaying(dir.path(), 2).await;
        let (one, other) = (ledger.next_outbound().await.unwrap(), ledger.next_outbound().await.unwrap());
        let marks = Marks::new(&ledger, &Tasks::new());
        ledger.close().await;
        for _ in 0..2 {
            let (first, second) = tokio::join!(marks.mark(one.mark()), marks.mark(other.mark()));
            assert!(first.is_err() && second.is_err());
        }
    }
}
