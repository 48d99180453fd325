//! Draws the rows that have a goal.
//!
//! Goals have different units; some are minimums and others are maximums. To fit all on one axis, each value is divided
//! by its goal, or the goal by the value for a minimum. A row reaches its goal if it is left of the line at 1. The axis
//! is logarithmic, so twice as good is as far from the line as twice as bad.

use svg::{
    Document, Node,
    node::element::{Circle, Group, Line, Rectangle, Text},
};

use super::report::{Figure, Goal, Outcome, Report, Row};

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 24.0;
/// The left and right end of the axis; labels are to its left, values to its right.
const AXIS: (f64, f64) = (330.0, 800.0);
/// The right end of values. Goals begin a little to the right of it.
const VALUES: f64 = 900.0;
const HEAD_HEIGHT: f64 = 92.0;
const GROUP_HEIGHT: f64 = 30.0;
const ROW_HEIGHT: f64 = 24.0;
const FOOT_HEIGHT: f64 = 64.0;

const INK: &str = "#1f2328";
const FAINT: &str = "#6b7280";
const GRID: &str = "#e5e7eb";
/// Two colours that colour-blind readers can distinguish. Besides, one dot is filled and the other hollow.
const REACHED: &str = "#0072b2";
const MISSED: &str = "#d55e00";

const LEGEND: &str = "Dot: the median divided by its goal, or the goal divided by the median where more is better. Line: \
                      from the smallest sample to the largest.";

/// A row with a goal, on the common axis.
struct Bullet<'a> {
    row: &'a Row,
    figure: &'a Figure,
    goal: Goal,
}

impl<'a> Bullet<'a> {
    fn of(row: &'a Row) -> Option<Self> {
        match &row.outcome {
            Outcome::Measured { figure, goal: Some(goal), .. } => Some(Self { row, figure, goal: *goal }),
            _ => None,
        }
    }

    /// The value as a share of the goal; at most 1 if it reaches the goal.
    fn share(&self, value: f64) -> f64 {
        match self.goal {
            Goal::AtMost(bound) => value / bound,
            Goal::AtLeast(bound) => bound / value,
        }
    }

    /// Minimum, median and maximum, as shares of the goal.
    fn shares(&self) -> [f64; 3] {
        let summary = self.figure.summary;
        [summary.min, summary.median, summary.max].map(|value| self.share(value))
    }
}

/// A logarithmic axis whose ends are powers of two.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// An axis that includes all shares and the goal.
    fn of(shares: impl Iterator<Item = f64>) -> Self {
        let exponents = shares.filter(|share| share.is_finite() && *share > 0.0).map(f64::log2);
        let (low, high) = exponents.fold((-1.0_f64, 1.0_f64), |(low, high), e| (low.min(e), high.max(e)));
        Self { low: low.floor(), high: high.ceil() }
    }

    fn x(&self, share: f64) -> f64 {
        // Zero and negative values are at the left end.
        let along = (share.max(f64::MIN_POSITIVE).log2() - self.low) / (self.high - self.low);
        AXIS.0 + (AXIS.1 - AXIS.0) * along.clamp(0.0, 1.0)
    }

    /// The powers of two on the axis.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (low, high) = (self.low, self.high);
        std::iter::successors(Some(low), |exponent| Some(exponent + 1.0))
            .take_while(move |exponent| *exponent <= high)
            .map(f64::exp2)
    }
}

/// Draws the report as SVG.
pub(super) fn draw(report: &Report) -> String {
    let bullets: Vec<Bullet<'_>> = report.rows.iter().filter_map(Bullet::of).collect();
    let axis = Axis::of(bullets.iter().flat_map(Bullet::shares));
    let mut y = HEAD_HEIGHT;
    let mut rows = Group::new();
    let mut last = "";
    for bullet in &bullets {
        if bullet.row.what != last {
            last = &bullet.row.what;
            y += GROUP_HEIGHT;
            rows.append(text(MARGIN, y - 8.0, last).set("font-weight", 600));
        }
        rows.append(draw_bullet(bullet, &axis, y + ROW_HEIGHT / 2.0));
        y += ROW_HEIGHT;
    }
    let height = y + FOOT_HEIGHT;
    let document = Document::new()
        .set("viewBox", (0, 0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("font-family", "system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif")
        .set("font-size", 13)
        .set("fill", INK)
        .add(Rectangle::new().set("width", WIDTH).set("height", height).set("fill", "#ffffff"))
        .add(
            text(MARGIN, 34.0, "Edgeprove, measured against its goals")
                .set("font-size", 19)
                .set("font-weight", 600),
        )
        .add(text(MARGIN, 56.0, &report.machine.to_string()).set("fill", FAINT))
        .add(text(VALUES, HEAD_HEIGHT - 8.0, "median").set("text-anchor", "end").set("fill", FAINT))
        .add(text(VALUES + 20.0, HEAD_HEIGHT - 8.0, "goal").set("fill", FAINT))
        .add(draw_axis(&axis, y))
        .add(rows)
        .add(text(MARGIN, height - 14.0, LEGEND).set("fill", FAINT).set("font-size", 12));
    document.to_string()
}

fn draw_axis(axis: &Axis, bottom: f64) -> Group {
    let top = HEAD_HEIGHT;
    let mut group = Group::new();
    for tick in axis.ticks() {
        let x = axis.x(tick);
        let is_goal = (tick - 1.0).abs() < f64::EPSILON;
        let line = line((x, top), (x, bottom + 6.0), if is_goal { INK } else { GRID });
        group.append(if is_goal { line.set("stroke-width", 1.5) } else { line });
        let label = if is_goal { "goal".to_owned() } else { format!("{tick}") };
        group.append(text(x, bottom + 22.0, &label).set("text-anchor", "middle").set("fill", FAINT));
    }
    let middle = axis.x(1.0);
    group
        .add(text(middle - 8.0, top - 8.0, "← reached").set("text-anchor", "end").set("fill", REACHED))
        .add(text(middle + 8.0, top - 8.0, "missed →").set("fill", MISSED))
}

fn draw_bullet(bullet: &Bullet<'_>, axis: &Axis, y: f64) -> Group {
    let [min, median, max] = bullet.shares().map(|share| axis.x(share));
    let reached = bullet.goal.is_reached_by(bullet.figure.summary.median);
    let colour = if reached { REACHED } else { MISSED };
    let dot = Circle::new().set("cx", median).set("cy", y).set("r", 5).set("stroke", colour);
    let circuit = bullet.row.circuit.as_deref().unwrap_or_default();
    Group::new()
        .add(text(AXIS.0 - 16.0, y + 4.5, circuit).set("text-anchor", "end").set("fill", FAINT))
        .add(line((min, y), (max, y), colour).set("stroke-width", 2))
        .add(dot.set("stroke-width", 2).set("fill", if reached { colour } else { "#ffffff" }))
        .add(text(VALUES, y + 4.5, &bullet.figure.median()).set("text-anchor", "end"))
        .add(text(VALUES + 20.0, y + 4.5, &bullet.goal.to_string()).set("fill", FAINT))
}

fn text(x: f64, y: f64, content: &str) -> Text {
    Text::new(content).set("x", x).set("y", y)
}

fn line(from: (f64, f64), to: (f64, f64), colour: &str) -> Line {
    let line = Line::new().set("x1", from.0).set("y1", from.1).set("x2", to.0).set("y2", to.1);
    line.set("stroke", colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Unit;

    fn bullet_x(goal: Goal, value: f64) -> f64 {
        let row = Row::with_goal("w", Figure::new("f", Unit::Ratio, vec![value]), goal, vec![]);
        let bullet = Bullet::of(&row).unwrap();
        let axis = Axis { low: -2.0, high: 2.0 };
        axis.x(bullet.shares()[1])
    }

    #[test]
    fn reached_goals_are_left_of_the_line() {
        let line = f64::midpoint(AXIS.0, AXIS.1);
        for (goal, better, worse) in [(Goal::AtMost(5.0), 4.0, 6.0), (Goal::AtLeast(3.0), 4.0, 2.0)] {
            assert!(bullet_x(goal, better) < line && bullet_x(goal, worse) > line, "{goal}");
        }
        assert!((bullet_x(Goal::AtMost(5.0), 5.0) - line).abs() < 1e-9);
        assert!((bullet_x(Goal::AtMost(5.0), -1.0) - AXIS.0).abs() < 1e-9);
    }

    #[test]
    fn the_axis_includes_all_and_ends_at_powers_of_two() {
        let axis = Axis::of([0.3, 5.0, f64::NAN].into_iter());
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]);
        let empty = Axis::of(std::iter::empty());
        assert_eq!(empty.ticks().collect::<Vec<_>>(), [0.5, 1.0, 2.0]);
    }
}
