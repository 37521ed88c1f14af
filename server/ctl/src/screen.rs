//! The terminal of `podicorn ctl top`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};
use ratatui::{DefaultTerminal, Frame};

use crate::client::Client;
use crate::commands::{CommandError, pool};
use crate::pool::Pool;
use crate::status::{HEADINGS, cells, headline, problems, scale};
use crate::top::{Rates, bar, rates};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const BAR: usize = 10;

/// One look at the pool.
#[derive(Debug)]
struct Look {
    pool: Pool,
    at: Instant,
}

/// Shows the pool until `q`, Esc or Ctrl-C.
pub(crate) fn run(client: &Client) -> Result<(), CommandError> {
    if !std::io::stdout().is_terminal() {
        return Err(CommandError::NoTerminal);
    }
    // The first look before the screen changes: an address that is wrong is told as plain text.
    let first = Look { pool: pool(client)?, at: Instant::now() };
    let mut terminal = ratatui::try_init()?;
    let end = watch(client, &mut terminal, first);
    ratatui::try_restore()?;
    end
}

fn watch(client: &Client, terminal: &mut DefaultTerminal, first: Look) -> Result<(), CommandError> {
    let mut now = first;
    let mut figures = rates(&now.pool, &now.pool, 0.0);
    let mut trouble = None;
    loop {
        terminal.draw(|frame| draw(frame, &now.pool, &figures, trouble.as_deref()))?;
        if left_before(now.at + LOOK_EVERY)? {
            return Ok(());
        }
        match pool(client) {
            Ok(pool) => {
                let at = Instant::now();
                figures = rates(&now.pool, &pool, (at - now.at).as_secs_f64());
                now = Look { pool, at };
                trouble = None;
            }
            // A server that restarts comes back; its last figures stay on the screen.
            Err(error) => {
                now.at = Instant::now();
                trouble = Some(error.to_string());
            }
        }
    }
}

/// Whether a key that leaves was pressed before the time.
fn left_before(time: Instant) -> Result<bool, CommandError> {
    loop {
        let left = time.saturating_duration_since(Instant::now());
        if !event::poll(left)? {
            return Ok(false);
        }
        let Event::Key(key) = event::read()? else { continue };
        let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        let leaves = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || interrupt;
        if leaves && key.kind == KeyEventKind::Press {
            return Ok(true);
        }
    }
}

fn draw(frame: &mut Frame<'_>, pool: &Pool, figures: &Rates, trouble: Option<&str>) {
    let mut lines = vec![Line::styled(headline(pool), Modifier::BOLD)];
    lines.extend(scale(&pool.scale).lines().map(|line| Line::raw(line.to_owned())));
    let queue: u64 = pool.listeners.iter().filter_map(|listener| Some(listener.accept_queue?.length)).sum();
    lines.push(Line::raw(format!(
        "{:.1} requests/s, {:.1} errors/s, {queue} waiting to be accepted",
        figures.requests_per_second, figures.errors_per_second
    )));
    let red = Style::new().fg(Color::Red);
    lines.extend(problems(pool).into_iter().map(|problem| Line::styled(problem, red)));
    lines.extend(trouble.map(|trouble| Line::styled(trouble.to_owned(), red)));
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(1);
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(height), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), head);
    workers(frame, body, pool, figures);
    frame.render_widget(Line::styled("q leaves", Modifier::DIM), foot);
}

fn workers(frame: &mut Frame<'_>, area: Rect, pool: &Pool, figures: &Rates) {
    let [slot, pid, state, up, requests, running, queued, memory, now] = HEADINGS;
    let headings = [slot, pid, state, "BUSY", up, requests, running, queued, memory, now];
    let rows = pool.workers.iter().zip(&figures.busy).map(|(worker, busy)| {
        let [slot, pid, state, up, requests, running, queued, memory, now] = cells(worker);
        let colour = match worker.state.as_str() {
            "busy" => Color::Yellow,
            "idle" => Color::Green,
            "starting" => Color::Cyan,
            _ => Color::DarkGray,
        };
        let bar = busy.map_or_else(String::new, |share| bar(share, BAR));
        let state = Span::styled(state, Style::new().fg(colour));
        Row::new([
            Cell::from(slot),
            Cell::from(pid),
            Cell::from(state),
            Cell::from(bar),
            Cell::from(up),
            Cell::from(requests),
            Cell::from(running),
            Cell::from(queued),
            Cell::from(memory),
            Cell::from(now),
        ])
    });
    let widths = [
        Constraint::Length(4),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Fill(1),
    ];
    let heading = Row::new(headings).style(Modifier::REVERSED);
    frame.render_widget(Table::new(rows, widths).header(heading), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::status::tests::sample;

    #[test]
    fn a_screen_has_the_figures_and_the_workers() {
        let pool = sample();
        let mut terminal = Terminal::new(TestBackend::new(110, 14)).unwrap();
        let figures = rates(&pool, &pool, 1.0);
        terminal.draw(|frame| draw(frame, &pool, &figures, Some("no server answers"))).unwrap();
        let screen = terminal.backend().to_string();
        for words in [
            "podicorn 0.1.0 (pid 1), running for 1 h 2 min",
            "3 workers wanted, of 1 to 8 (by lease",
            "0.0 requests/s, 0.0 errors/s, 3 waiting",
            "no server answers",
            "██████████",
            "GET /report\u{fffd}[2J 2.2 s",
            "q leaves",
        ] {
            assert!(screen.contains(words), "{words:?} is not on\n{screen}");
        }
    }
}
