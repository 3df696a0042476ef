//! The log: `tracing` events (and those of libraries that use `log`) to standard error, as text
//! or JSON lines.
//!
//! `RUST_LOG` overrides the configured level, so that a technician can look closer without
//! editing the configuration. [`init`] may be called again: a command logs with defaults until
//! its configuration is read.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// How much is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Failures only.
    Error,
    /// And what needs attention.
    Warn,
    /// And every change of state.
    #[default]
    Info,
    /// And every part.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

/// Level and format together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// How much is written.
    pub level: Level,
    /// How a line looks.
    pub format: Format,
}

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the log: {message}")]
pub struct LogError {
    message: String,
}

impl LogError {
    fn new(message: &dyn std::fmt::Display) -> Self {
        Self { message: message.to_string() }
    }
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;
type UnderFilter = Layered<reload::Layer<Lines, Registry>, Registry>;

/// Doors to the running log's parts.
struct Handles {
    lines: reload::Handle<Lines, Registry>,
    filter: reload::Handle<EnvFilter, UnderFilter>,
}

static HANDLES: Mutex<Option<Handles>> = Mutex::new(None);

/// Libraries that speak of every packet or graph node at `info`: one level quieter than ours.
const QUIET_LIBRARIES: [&str; 4] = ["rumqttc", "tract", "burn", "cubecl"];
/// The demonstration's broker calls every client that leaves an error.
const SILENT_LIBRARY: &str = "rumqttd=off";

/// Starts the log, or replaces the settings of a started one (not inside a span: its fields are
/// kept in the old format).
///
/// # Errors
/// When `RUST_LOG` is not a valid filter or another library has taken the log already.
pub fn init(settings: LogSettings) -> Result<(), LogError> {
    let filter = filter(settings.level, std::env::var("RUST_LOG").ok().as_deref())?;
    let lines = lines(settings.format);
    let mut handles = HANDLES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handles) = handles.as_ref() {
        handles.lines.reload(lines).map_err(|e| LogError::new(&e))?;
        return handles.filter.reload(filter).map_err(|e| LogError::new(&e));
    }
    let (lines, lines_handle) = reload::Layer::new(lines);
    // The filter is a layer of its own because a filtered layer cannot be swapped in later
    // (it gets its filter id when it is registered).
    let (filter, filter_handle) = reload::Layer::new(filter);
    // Also routes the `log` crate's records here (feature tracing-log).
    let log = tracing_subscriber::registry().with(lines).with(filter);
    log.try_init().map_err(|e| LogError::new(&e))?;
    *handles = Some(Handles { lines: lines_handle, filter: filter_handle });
    Ok(())
}

fn lines(format: Format) -> Lines {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if format == Format::Json {
        return lines.json().flatten_event(true).boxed();
    }
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = lines.with_ansi(colour).with_target(false);
    // journald stamps the lines itself.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().boxed()
    } else {
        lines.boxed()
    }
}

fn filter(level: Level, rust_log: Option<&str>) -> Result<EnvFilter, LogError> {
    let directives = match rust_log {
        Some(text) if !text.trim().is_empty() => text.to_owned(),
        _ => default_directives(level),
    };
    EnvFilter::try_new(&directives).map_err(|e| {
        LogError::new(&format_args!(
            "RUST_LOG={directives:?} is not a filter ({e}); try RUST_LOG=debug"
        ))
    })
}

fn default_directives(level: Level) -> String {
    let quiet = match level {
        Level::Info | Level::Debug => "warn",
        other => other.as_str(),
    };
    let libraries = QUIET_LIBRARIES.map(|name| format!("{name}={quiet}")).join(",");
    format!("{},{libraries},{SILENT_LIBRARY}", level.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [Level; 5] = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

    #[test]
    fn every_configured_level_is_a_filter() {
        for level in LEVELS {
            let filter = filter(level, None).unwrap().to_string();
            assert!(filter.split(',').any(|d| d == level.as_str()), "{filter}");
        }
    }

    #[test]
    fn the_environment_overrides_the_level_and_a_bad_filter_is_refused() {
        assert_eq!(filter(Level::Error, Some("crrd=trace")).unwrap().to_string(), "crrd=trace");
        assert!(filter(Level::Info, Some(" ")).unwrap().to_string().contains("info"));
        let error = filter(Level::Info, Some("crrd=loud")).unwrap_err().to_string();
        assert!(error.contains("crrd=loud") && error.contains("try RUST_LOG"), "{error}");
    }

    #[test]
    fn settings_can_be_replaced_while_running() {
        init(LogSettings { level: Level::Error, format: Format::Text }).unwrap();
        assert!(!tracing::enabled!(tracing::Level::WARN));
        init(LogSettings { level: Level::Warn, format: Format::Json }).unwrap();
        assert!(tracing::enabled!(tracing::Level::WARN));
    }
}
