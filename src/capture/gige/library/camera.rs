//! One camera: its features by name.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aravis::glib::prelude::*;
use aravis::prelude::*;
use aravis::{GcBoolean, GcCategory, GcCommand, GcEnumeration, GcFeatureNode, GcFloat, GcInteger};
use aravis::{GcNode, GcString, GvDevice, GvPacketSizeAdjustment, GvStreamOption};

use super::stream::Frames;
use super::{list, network, told};
use crate::capture::gige::device::{Bounds, Device, DeviceError, Identity, Kind, Stream};
use crate::config::{FeatureValue, GigeLink};

/// The smallest step that is one: the library answers with the smallest number there is when a
/// camera tells none.
const STEP_MIN: f64 = 1e-12;

/// An opened camera.
pub(super) struct Camera {
    camera: aravis::Camera,
    device: aravis::Device,
    identity: Identity,
    /// Set by the library's own thread.
    lost: Arc<AtomicBool>,
}

/// What stands behind a name.
pub(super) enum Node {
    /// Names of features.
    Category(Vec<String>),
    /// A feature of this kind.
    Feature(Kind),
}

fn text(value: Result<aravis::glib::GString, aravis::glib::Error>) -> String {
    value.map(|text| text.to_string()).unwrap_or_default()
}

impl Camera {
    /// Opens the camera called `name`; control is taken when it is free.
    pub(super) fn open(name: &str) -> Result<Self, DeviceError> {
        let id = list::id_of(name)?;
        let camera = aravis::Camera::new(Some(&id)).map_err(told)?;
        let Some(device) = camera.device() else {
            return Err(DeviceError("the library gave no device".into()));
        };
        // Off by default: then a camera is sent whatever is asked for.
        camera.set_range_check_policy(aravis::RangeCheckPolicy::Enable);
        // What is read back must come from the camera, not from a memory of what was written.
        camera.set_register_cache_policy(aravis::RegisterCachePolicy::Disable);
        let lost = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&lost);
        device.connect_control_lost(move |_| flag.store(true, Ordering::SeqCst));
        let mut identity = Identity {
            vendor: text(camera.vendor_name()),
            model: text(camera.model_name()),
            serial: text(camera.device_serial_number()),
            address: String::new(),
        };
        if camera.is_gv_device() {
            identity.address = address(&device).unwrap_or_else(|| name.to_owned());
        }
        Ok(Self { camera, device, identity, lost })
    }

    /// What `name` is in this camera; `None` when it does not have it now.
    pub(super) fn node(&self, name: &str) -> Option<Node> {
        let node = self.device.feature(name)?;
        if let Some(category) = node.downcast_ref::<GcCategory>() {
            return Some(Node::Category(list::names_in(category)));
        }
        let feature = node.downcast_ref::<GcFeatureNode>()?;
        let there =
            feature.is_implemented().unwrap_or(true) && feature.is_available().unwrap_or(true);
        there.then(|| kind_of(&node)).flatten().map(Node::Feature)
    }

    /// Unit of a number.
    pub(super) fn unit(&self, name: &str) -> Option<String> {
        let node = self.device.feature(name)?;
        let unit = match (node.dynamic_cast_ref::<GcFloat>(), node.dynamic_cast_ref::<GcInteger>())
        {
            (Some(float), _) => float.unit(),
            (None, Some(integer)) => integer.unit(),
            (None, None) => None,
        };
        unit.map(|unit| unit.to_string()).filter(|unit| !unit.is_empty())
    }

    fn packets(&self, link: &GigeLink) -> Result<(), DeviceError> {
        let Some(bytes) = link.packet_bytes else {
            self.camera.gv_set_packet_size_adjustment(GvPacketSizeAdjustment::Always);
            return Ok(());
        };
        self.camera.gv_set_packet_size_adjustment(GvPacketSizeAdjustment::Never);
        self.camera.gv_set_packet_size(bytes as i32).map_err(told)?;
        let is = self.camera.gv_get_packet_size().map_err(told)?;
        if is != bytes {
            return Err(DeviceError(format!(
                "packet_size = {bytes}: the camera made {is} of it; write that, or remove it and \
                 the largest that passes is found"
            )));
        }
        Ok(())
    }
}

/// The address that the camera says it has.
fn address(device: &aravis::Device) -> Option<String> {
    let read = |name| device.integer_feature_value(name).ok();
    let bits = read("ArvGevCurrentIPAddress").or_else(|| read("GevCurrentIPAddress"))?;
    let bits = u32::try_from(bits).ok().filter(|bits| *bits != 0)?;
    Some(Ipv4Addr::from(bits).to_string())
}

/// An enumeration is an integer and a text as well, so it is asked for first.
fn kind_of(node: &GcNode) -> Option<Kind> {
    if node.is::<GcCommand>() {
        Some(Kind::Command)
    } else if node.is::<GcBoolean>() {
        Some(Kind::Boolean)
    } else if node.is::<GcEnumeration>() {
        Some(Kind::Enumeration)
    } else if node.is::<GcFloat>() {
        Some(Kind::Float)
    } else if node.is::<GcInteger>() {
        Some(Kind::Integer)
    } else {
        node.is::<GcString>().then_some(Kind::Text)
    }
}

impl Device for Camera {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn is_ours(&self) -> bool {
        // A USB device that somebody else has does not open.
        self.device.downcast_ref::<GvDevice>().is_none_or(GvDevice::is_controller)
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        match self.node(name)? {
            Node::Feature(kind) => Some(kind),
            Node::Category(_) => None,
        }
    }

    fn read(&self, name: &str) -> Result<FeatureValue, DeviceError> {
        let device = &self.device;
        let Some(kind) = self.kind(name) else {
            return Err(DeviceError(format!("[{name}] not there now")));
        };
        match kind {
            Kind::Integer => device.integer_feature_value(name).map(FeatureValue::Integer),
            Kind::Float => device.float_feature_value(name).map(FeatureValue::Float),
            Kind::Boolean => device.boolean_feature_value(name).map(FeatureValue::Boolean),
            Kind::Enumeration | Kind::Text => {
                device.string_feature_value(name).map(|text| FeatureValue::Text(text.to_string()))
            }
            Kind::Command => return Err(DeviceError(format!("[{name}] is a command"))),
        }
        .map_err(told)
    }

    fn write(&self, name: &str, value: &FeatureValue) -> Result<(), DeviceError> {
        let device = &self.device;
        match value {
            FeatureValue::Integer(whole) => device.set_integer_feature_value(name, *whole),
            FeatureValue::Float(number) => device.set_float_feature_value(name, *number),
            FeatureValue::Boolean(word) => device.set_boolean_feature_value(name, *word),
            FeatureValue::Text(text) => device.set_string_feature_value(name, text),
        }
        .map_err(told)
    }

    fn run(&self, name: &str) -> Result<(), DeviceError> {
        self.device.execute_command(name).map_err(told)
    }

    fn bounds(&self, name: &str) -> Option<Bounds> {
        let device = &self.device;
        match self.kind(name)? {
            Kind::Float => {
                let (min, max) = device.float_feature_bounds(name).ok()?;
                let step = device.float_feature_increment(name).ok();
                Some(Bounds { min, max, increment: step.filter(|step| *step > STEP_MIN) })
            }
            Kind::Integer => {
                let (min, max) = device.integer_feature_bounds(name).ok()?;
                let step = device.integer_feature_increment(name).ok();
                let increment = step.filter(|step| *step > 0).map(|step| step as f64);
                Some(Bounds { min: min as f64, max: max as f64, increment })
            }
            _ => None,
        }
    }

    fn entries(&self, name: &str) -> Vec<String> {
        let node = self.device.feature(name);
        let words = node.as_ref().and_then(|node| node.downcast_ref::<GcEnumeration>());
        words.and_then(|words| list::words(words).ok()).unwrap_or_default()
    }

    fn stream(&mut self, link: &GigeLink) -> Result<Box<dyn Stream>, DeviceError> {
        if self.camera.is_gv_device() {
            self.packets(link)?;
            self.camera.gv_set_stream_options(match link.packet_socket {
                true => GvStreamOption::NONE,
                false => GvStreamOption::PACKET_SOCKET_DISABLED,
            });
            network::advise(link);
        }
        let stream = self.camera.create_stream().map_err(told)?;
        if let Ok(bytes) = self.camera.gv_get_packet_size() {
            tracing::info!(camera = %self.identity, packet_bytes = bytes, "stream made");
        }
        let chunks = self.camera.create_chunk_parser();
        Ok(Box::new(Frames::new(stream, link, Arc::clone(&self.lost), chunks)))
    }

    fn start(&self) -> Result<(), DeviceError> {
        self.camera.start_acquisition().map_err(told)
    }

    fn stop(&self) -> Result<(), DeviceError> {
        self.camera.stop_acquisition().map_err(told)
    }
}
