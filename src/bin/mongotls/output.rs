//! Printing: colour on a terminal, plain text elsewhere, and external text made printable.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use mongotls::cause::Printable;
use serde_json::Value;

/// Standard output or standard error.
pub(crate) struct Screen {
    stream: Box<dyn Write>,
    colour: bool,
    is_closed: bool,
}

/// The meaning of a piece of text, which determines its colour.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    Good,
    Bad,
    Warning,
    Faint,
    Strong,
}

impl Screen {
    pub(crate) fn stdout() -> Self {
        Self {
            colour: coloured(io::stdout().is_terminal()),
            stream: Box::new(io::stdout().lock()),
            is_closed: false,
        }
    }

    pub(crate) fn stderr() -> Self {
        Self {
            colour: coloured(io::stderr().is_terminal()),
            stream: Box::new(io::stderr().lock()),
            is_closed: false,
        }
    }

    /// Prints text that may have several lines. If the reader has closed the output, that is not an error and does not
    /// change the result of the command.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        match writeln!(self.stream, "{text}").and_then(|()| self.stream.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.stream = Box::new(io::sink());
                self.is_closed = true;
                Ok(())
            }
            other => other,
        }
    }

    /// Returns true if the reader has closed the output.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Prints JSON on one line.
    pub(crate) fn json(&mut self, value: &Value) -> io::Result<()> {
        self.line(&clean(value))
    }

    /// Prints JSON on as many lines as make it easy to read.
    pub(crate) fn indented_json(&mut self, value: &Value) -> io::Result<()> {
        // Line feeds within texts are escaped, so every remaining one separates lines.
        let lines: Vec<String> = format!("{value:#}").lines().map(clean).collect();
        self.line(&lines.join("\n"))
    }

    /// `text` in the colour of `tone`.
    pub(crate) fn paint(&self, tone: Tone, text: impl fmt::Display) -> String {
        let text = text.to_string();
        if !self.colour {
            return text;
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31;1",
            Tone::Warning => "33",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Returns true if colours are allowed. <https://no-color.org>: any non-empty value requests plain text.
fn coloured(terminal: bool) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    terminal && !refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Converts text from a server, a certificate or a file to one line that cannot control the terminal.
pub(crate) fn clean(text: impl fmt::Display) -> String {
    Printable(text).to_string()
}

/// Formats milliseconds with only the significant digits.
pub(crate) fn ms(duration: std::time::Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else if ms < 1000.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{:.2} s", ms / 1000.0)
    }
}
