//! Log lines on their way out of the process: a bounded queue, and one thread that writes.
//!
//! Whoever has something to say puts a line into the queue and goes on. It does not wait for a pipe nobody reads, and does not learn of a full
//! disk: a sender's answer must not depend on the reader of a log. What does not fit into the queue, or cannot be written, is dropped and
//! counted, and said in a line of its own once a line was written again. The newest lines are dropped, because the older ones tell how it began.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;

/// What the queue holds at most: some seconds of a busy host.
pub(super) const QUEUED_BYTES_MAX: usize = 4 << 20;
/// What a line weighs in the queue beside its text.
const LINE_OVERHEAD_BYTES: usize = 64;
/// Where somebody made the pipe non-blocking, a full one is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How many lines were dropped; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DroppedLines(pub(super) Counter);

/// Makes the line that says how many were dropped.
pub(super) type Notice = Box<dyn Fn(u64) -> Vec<u8> + Send>;

/// The way to the writer; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    dropped: DroppedLines,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    is_writing: bool,
    /// Dropped, and not said yet.
    untold: u64,
}

/// The writing end.
struct Writer<W> {
    sink: W,
    /// A line was cut in its middle, and the next must not continue it.
    is_cut: bool,
}

impl Lines {
    /// Starts the thread that writes to `sink`. It goes with the process, not before.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(sink: impl Write + Send + 'static, dropped: DroppedLines, notice: Notice) -> io::Result<Self> {
        let lines = Self(Arc::new(Shared { dropped, ..Shared::default() }));
        let shared = Arc::clone(&lines.0);
        thread::Builder::new().name("hookyard-log".to_owned()).spawn(move || shared.write(Writer { sink, is_cut: false }, &notice))?;
        Ok(lines)
    }

    /// Puts a line into the queue, or drops it where the queue is full. Never waits for the writer.
    pub(super) fn put(&self, line: Vec<u8>) {
        let mut queue = self.0.queue();
        let bytes = line.len() + LINE_OVERHEAD_BYTES;
        if queue.bytes + bytes > QUEUED_BYTES_MAX {
            queue.untold += 1;
            self.0.dropped.0.inc();
            return;
        }
        queue.bytes += bytes;
        queue.lines.push_back(line);
        drop(queue);
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, at most so long; whether it is.
    pub(super) fn flush(&self, at_most: Duration) -> bool {
        let queue = self.0.queue();
        let waited = self.0.changed.wait_timeout_while(queue, at_most, |queue| queue.is_writing || !queue.lines.is_empty());
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next line, once there is one.
    fn next(&self) -> Vec<u8> {
        let mut queue = self.changed.wait_while(self.queue(), |queue| queue.lines.is_empty()).unwrap_or_else(PoisonError::into_inner);
        let line = queue.lines.pop_front().unwrap_or_default();
        queue.bytes -= line.len() + LINE_OVERHEAD_BYTES;
        queue.is_writing = true;
        line
    }

    fn write(&self, mut writer: Writer<impl Write>, notice: &Notice) {
        loop {
            let line = self.next();
            if writer.write(&line).is_ok() {
                self.tell(&mut writer, notice);
            } else {
                self.queue().untold += 1;
                self.dropped.0.inc();
            }
            self.queue().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Says how many were dropped, where some were; what cannot be said now is said later.
    fn tell(&self, writer: &mut Writer<impl Write>, notice: &Notice) {
        let untold = mem::take(&mut self.queue().untold);
        if untold > 0 && writer.write(&notice(untold)).is_err() {
            self.queue().untold += untold;
        }
    }
}

impl<W: Write> Writer<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_cut {
            self.all(b"\n")?;
            self.is_cut = false;
        }
        self.all(line)
    }

    fn all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let whole = bytes.len();
        while !bytes.is_empty() {
            match self.sink.write(bytes) {
                Ok(0) => return self.cut(bytes.len() < whole, io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(LOOK_AGAIN),
                Err(error) => return self.cut(bytes.len() < whole, error),
            }
        }
        Ok(())
    }

    fn cut(&mut self, is_cut: bool, error: io::Error) -> io::Result<()> {
        self.is_cut |= is_cut;
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    /// Standard error as others leave it to us.
    #[derive(Clone, Default)]
    struct Sink(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        written: Vec<u8>,
        /// Nobody reads.
        is_unread: bool,
        /// So many bytes fit yet, where the disk has an end.
        room: Option<usize>,
        /// The next call asks to come again.
        is_busy: bool,
    }

    impl Sink {
        fn set(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().written.clone()).unwrap()
        }

        fn lines(&self) -> (Lines, DroppedLines) {
            let dropped = DroppedLines::default();
            let notice: Notice = Box::new(|lines| format!("{lines} dropped\n").into_bytes());
            (Lines::start(self.clone(), dropped.clone(), notice).unwrap(), dropped)
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |state| state.is_unread).unwrap();
            if mem::take(&mut state.is_busy) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let fits = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.room = state.room.map(|room| room - fits);
            state.written.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_their_order_also_where_the_sink_is_busy_for_a_moment() {
        let sink = Sink::default();
        sink.set(|state| state.is_busy = true);
        let (lines, dropped) = sink.lines();
        for number in 0..100 {
            lines.put(format!("{number}\n").into_bytes());
        }
        assert!(lines.flush(LONG));
        assert_eq!(sink.text(), (0..100).map(|number| format!("{number}\n")).collect::<Vec<_>>().concat());
        assert_eq!(dropped.0.get(), 0);
    }

    #[test]
    fn a_pipe_that_nobody_reads_makes_nobody_wait_and_what_was_dropped_is_said_when_it_is_read_again() {
        let sink = Sink::default();
        sink.set(|state| state.is_unread = true);
        let (lines, dropped) = sink.lines();
        let (line, put) = (vec![b'x'; 1023], 2 * QUEUED_BYTES_MAX / 1024);
        for _ in 0..put {
            lines.put([&line[..], b"\n"].concat());
        }
        assert!(!lines.flush(Duration::from_millis(1)), "nobody read");
        let lost = usize::try_from(dropped.0.get()).unwrap();
        assert!((put / 2..put).contains(&lost), "{lost} of {put}");
        sink.set(|state| state.is_unread = false);
        assert!(lines.flush(LONG));
        let text = sink.text();
        assert_eq!(text.lines().filter(|line| line.starts_with('x')).count(), put - lost);
        assert_eq!(text.lines().filter(|line| line.ends_with("dropped")).collect::<Vec<_>>(), [format!("{lost} dropped")]);
    }

    #[test]
    fn a_full_disk_costs_the_lines_and_the_next_one_stands_on_a_line_of_its_own() {
        let sink = Sink::default();
        sink.set(|state| state.room = Some(6));
        let (lines, dropped) = sink.lines();
        for line in ["one\n", "two\n", "three\n"] {
            lines.put(line.into());
        }
        assert!(lines.flush(LONG));
        assert_eq!((sink.text().as_str(), dropped.0.get()), ("one\ntw", 2));
        sink.set(|state| state.room = None);
        lines.put("four\n".into());
        assert!(lines.flush(LONG));
        assert_eq!(sink.text(), "one\ntw\nfour\n2 dropped\n");
    }

    #[test]
    fn a_line_that_says_what_was_dropped_and_is_lost_is_said_again() {
        let sink = Sink::default();
        sink.set(|state| state.room = Some(0));
        let (lines, _) = sink.lines();
        lines.put("one\n".into());
        assert!(lines.flush(LONG));
        sink.set(|state| state.room = Some(4));
        lines.put("two\n".into());
        assert!(lines.flush(LONG));
        sink.set(|state| state.room = None);
        lines.put("three\n".into());
        assert!(lines.flush(LONG));
        assert_eq!(sink.text(), "two\nthree\n1 dropped\n");
    }
}
