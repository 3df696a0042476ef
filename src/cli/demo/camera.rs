//! A camera that renders the parts it sees.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::capture::{Camera, CameraError, CameraErrorKind, CameraStats, Event, Trigger};
use crate::demo::{Defect, Product, Purpose, SIDE_PX_DEFAULT, part_seed, render};
use crate::frame::{
    CameraId, Frame, FrameMeta, Nanos, PartId, PixelFormat, Pool, RecipeId, TriggerId,
};
use crate::sys::clock::Clock;

/// Every how many-th part is defective, on average.
const DEFECTIVE_ONE_IN: u64 = 3;

/// What a part is and what is wrong with it.
pub(super) type Truth = (Product, Option<Defect>);

/// Product and defect of part `index`: fixed by the seed.
pub(super) fn plan(seed: u64, index: u64) -> Truth {
    let bits = part_seed(seed, Purpose::Live, index);
    let pick = |shift: u32, n: u64| ((bits >> shift & 0xffff) % n) as usize;
    let product = Product::ALL[index as usize % Product::ALL.len()];
    let defective = pick(0, DEFECTIVE_ONE_IN) == 0;
    (product, defective.then(|| Defect::ALL[pick(16, Defect::ALL.len() as u64)]))
}

pub(super) struct RenderedParts {
    clock: Arc<dyn Clock>,
    seed: u64,
    parts: Option<u32>,
    period: Nanos,
    /// Recipe of each product in the order of [`Product::ALL`].
    recipes: Vec<RecipeId>,
    stream: Option<(Pool, u32)>,
    next: u64,
    due: Option<Nanos>,
    stats: CameraStats,
}

impl RenderedParts {
    /// `parts` parts (for ever without it) at `rate_hz` (0 = as fast as they are taken); recipe
    /// numbers count the engine's classes from 1.
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        seed: u64,
        parts: Option<u32>,
        rate_hz: f64,
        classes: &[String],
    ) -> Result<Self> {
        let recipe = |product: &Product| {
            let at = classes.iter().position(|class| class == product.name());
            at.map(|i| RecipeId(i as u16 + 1)).ok_or_else(|| {
                anyhow!("the demo engine does not know the class {}", product.name())
            })
        };
        let recipes = Product::ALL.iter().map(recipe).collect::<Result<_>>()?;
        let period = Nanos(if rate_hz > 0.0 { (1e9 / rate_hz) as u64 } else { 0 });
        let stats = CameraStats::default();
        Ok(Self { clock, seed, parts, period, recipes, stream: None, next: 0, due: None, stats })
    }

    /// Sleeps until `until` or `deadline`; true when `until` is reached.
    fn wait(&self, until: Nanos, deadline: Nanos) -> bool {
        let wake = until.min(deadline);
        std::thread::sleep(Duration::from_nanos(wake.since(self.clock.now()).0));
        until <= deadline
    }

    fn shoot(&mut self, pool: &Pool, epoch: u32, deadline: Nanos) -> Result<Event, CameraError> {
        let Some(mut lease) = pool.lease() else {
            // The station is busy: the part waits in front of the camera.
            self.wait(self.clock.now().plus_ms(1), deadline);
            return Ok(Event::Idle);
        };
        let (product, defect) = plan(self.seed, self.next);
        let seed = part_seed(self.seed, Purpose::Live, self.next);
        let part = render(product, defect, seed, SIDE_PX_DEFAULT);
        lease[..part.rgb.len()].copy_from_slice(&part.rgb);
        let arrived = self.clock.now();
        let number = self.next as u32 + 1;
        let id = PartId::new(&format!("D{number:07}")).map_err(|e| {
            CameraError::new(CameraErrorKind::Stream, format!("rendered part: {e}"))
        })?;
        let recipe = self.recipes[self.next as usize % self.recipes.len()];
        let trigger = Trigger {
            seq: self.next,
            id: TriggerId(number),
            part: id,
            recipe: Some(recipe),
            arrived,
        };
        let (number, size) = ((epoch, self.next), (part.size, part.size));
        let meta = FrameMeta::packed(CameraId(0), number, arrived, PixelFormat::Rgb8, size);
        self.next += 1;
        self.due = Some(Nanos(self.due.unwrap_or(arrived).0.saturating_add(self.period.0)));
        self.stats.delivered += 1;
        Ok(Event::Frame { trigger, frame: Frame { meta, lease } })
    }
}

impl Camera for RenderedParts {
    fn frame_bytes_max(&self) -> usize {
        SIDE_PX_DEFAULT * SIDE_PX_DEFAULT * 3
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        self.stream = Some((pool, epoch));
        Ok(())
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        let Some((pool, epoch)) = self.stream.clone() else {
            return Err(CameraError::new(CameraErrorKind::Stream, "the camera is not started"));
        };
        if self.parts.is_some_and(|n| self.next >= u64::from(n)) {
            return Ok(Event::End);
        }
        if self.due.is_some_and(|due| !self.wait(due, deadline)) {
            return Ok(Event::Idle);
        }
        self.shoot(&pool, epoch, deadline)
    }

    fn stats(&self) -> CameraStats {
        self.stats
    }

    fn stop(&mut self) -> Result<(), CameraError> {
        self.stream = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_shows_every_product_and_every_defect_beside_good_parts() {
        let plans: Vec<Truth> = (0..600).map(|i| plan(1, i)).collect();
        let good = plans.iter().filter(|(_, defect)| defect.is_none()).count();
        assert!((330..470).contains(&good), "{good} of 600 are good");
        for defect in Defect::ALL {
            assert!(plans.iter().any(|(_, d)| *d == Some(defect)), "{defect:?}");
        }
        for product in Product::ALL {
            assert_eq!(plans.iter().filter(|(p, _)| *p == product).count(), 200);
        }
        assert_eq!(plans, (0..600).map(|i| plan(1, i)).collect::<Vec<_>>());
    }
}
