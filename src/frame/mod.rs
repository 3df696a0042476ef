//! Frames and the identities that travel with them.
//!
//! A [`Frame`] is a leased buffer plus the facts the camera knew about it. Nothing here knows
//! a file format, a threshold or a clock: time stamps arrive as [`Nanos`] from the shell.

mod affine;
mod geometry;
mod ids;
mod leased;
mod map;
mod pixel;
mod pool;
mod precision;
mod projection;
mod tiling;
mod view;

pub use affine::Affine;
pub use geometry::{Geometry, GeometryError};
pub use ids::{
    CameraId, CameraName, ConsumerId, IdError, Nanos, PartId, RecipeId, StationId, TriggerId,
    VIEWS_MAX,
};
pub use leased::{Facts, Frame, FrameKey, FrameKeys, FrameMeta};
pub use map::AnomalyMap;
pub use pixel::{Mosaic, PixelFormat};
pub use pool::{Buffers, Home, Lease, Memory, NoBuffer, Origin, Pool, Slab};
pub use precision::Precision;
pub use projection::Projection;
pub use tiling::{Framing, Grid, Tiling};
pub use view::{ImageView, ViewError};
