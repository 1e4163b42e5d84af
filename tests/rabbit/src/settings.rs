//! How a node is set up.

/// What a node is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest message it takes; RabbitMQ 4 takes 16 MiB, 3.10 takes 128.
    pub message_bytes_max: u64,
    /// Whether it has the management API, for a second of start and some memory.
    pub management: bool,
    /// More lines of `rabbitmq.conf`.
    pub more: String,
}

impl Default for Settings {
    /// As RabbitMQ 4 sets itself up, where that can be said on 3.10; no management API.
    fn default() -> Self {
        Self { message_bytes_max: 16 * 1024 * 1024, management: false, more: String::new() }
    }
}

impl Settings {
    /// The text of `rabbitmq.conf`. The write-ahead log is kept small, because a laptop runs several nodes beside everything else.
    pub(crate) fn conf(&self, management: Option<u16>) -> String {
        // Names and arguments are asked for, never rates: those would cost a core.
        let management = management.map_or_else(String::new, |port| {
            format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\nmanagement_agent.disable_metrics_collector = true\n")
        });
        format!(
            "max_message_size = {}\nvm_memory_high_watermark.absolute = 2GB\ndisk_free_limit.absolute = 50MB\n\
             raft.wal_max_size_bytes = 67108864\nlog.file.level = info\nlog.console = false\n{management}{}",
            self.message_bytes_max, self.more,
        )
    }
}
