//! The comparison as an SVG plot: for each trace what a policy costs (worker-seconds) against what it gives (the wait
//! that 99 of 100 requests do not exceed). Left and low is better.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::compare::{Comparison, Outcome};

const WIDTH: u32 = 900;
const HEIGHT: u32 = 420;
/// Waits are shown from here up, in milliseconds.
const LEAST: f64 = 1.0;

/// Height of a label, in pixels, and about the width of a letter.
const LABEL: i32 = 15;
const LETTER: i32 = 7;

/// Left, top, right, bottom.
type Rectangle = (i32, i32, i32, i32);
type Failure = DrawingAreaErrorKind<std::io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The plot as SVG text.
pub fn plot(comparisons: &[Comparison]) -> Result<String, String> {
    let mut svg = String::new();
    draw(&mut svg, comparisons).map_err(|error| format!("cannot draw the plot: {error}"))?;
    Ok(svg)
}

fn draw(svg: &mut String, comparisons: &[Comparison]) -> Result<(), Failure> {
    let columns = if comparisons.len() > 1 { 2 } else { 1 };
    let rows = comparisons.len().div_ceil(columns).max(1);
    let size = (WIDTH / 2 * columns as u32 * 3 / 2, HEIGHT * rows as u32);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, comparison) in root.split_evenly((rows, columns)).iter().zip(comparisons) {
        panel(area, comparison)?;
    }
    root.present()
}

fn panel(area: &Area<'_>, comparison: &Comparison) -> Result<(), Failure> {
    let cost = |outcome: &Outcome| outcome.worker_seconds;
    let wait = |outcome: &Outcome| (outcome.p99_wait * 1000.0).max(LEAST);
    let right = comparison.outcomes.iter().map(cost).fold(comparison.busy_seconds, f64::max) * 1.25;
    let top = comparison.outcomes.iter().map(wait).fold(10.0, f64::max) * 3.0;
    let mut chart = ChartBuilder::on(area)
        .caption(&comparison.trace, ("sans-serif", 24))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..right.max(1.0), (LEAST * 0.7..top).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("worker-seconds")
        .y_desc("p99 wait, ms")
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value}"))
        .draw()?;
    let mut taken: Vec<Rectangle> = Vec::new();
    for outcome in &comparison.outcomes {
        let own = outcome.policy.starts_with("podicorn");
        let colour = if own { RGBColor(200, 30, 30) } else { RGBColor(60, 90, 150) };
        let place = (cost(outcome), wait(outcome));
        let beside = free_place(chart.backend_coord(&place), outcome.policy.len(), &mut taken);
        let font = ("sans-serif", f64::from(LABEL)).into_font().color(&colour);
        let label = Text::new(outcome.policy.clone(), beside, font);
        chart.draw_series(std::iter::once(
            EmptyElement::at(place) + Circle::new((0, 0), 4, colour.filled()) + label,
        ))?;
    }
    Ok(())
}

/// Where the label goes, from its point: to the right, and up or down until it covers no other.
fn free_place(point: (i32, i32), letters: usize, taken: &mut Vec<Rectangle>) -> (i32, i32) {
    let width = i32::try_from(letters).unwrap_or(0) * LETTER;
    let rectangle = |down: i32| {
        let (left, top) = (point.0 + 7, point.1 + down);
        (left, top, left + width, top + LABEL)
    };
    let meet = |a: &Rectangle, b: &Rectangle| a.0 < b.2 && b.0 < a.2 && a.1 < b.3 && b.1 < a.3;
    let rows = (0..12).map(|step| -6 + LABEL * if step % 2 == 0 { step / 2 } else { -(step / 2) - 1 });
    let down =
        rows.into_iter().find(|down| taken.iter().all(|other| !meet(other, &rectangle(*down)))).unwrap_or(-6);
    taken.push(rectangle(down));
    (7, down)
}
