//! Service Controller: makes and removes volumes on this node.

use std::{collections::HashMap, sync::Arc};

use tonic::{Request, Response, Status};

use crate::{
    TOPOLOGY,
    volumes::{Record, Volumes},
    wire::csi::{
        CapacityRange, ControllerGetCapabilitiesRequest, ControllerGetCapabilitiesResponse,
        ControllerServiceCapability, CreateVolumeRequest, CreateVolumeResponse, DeleteVolumeRequest,
        DeleteVolumeResponse, Topology, TopologyRequirement, ValidateVolumeCapabilitiesRequest,
        ValidateVolumeCapabilitiesResponse, Volume, VolumeCapability, controller_server,
        controller_service_capability::{self, rpc},
        validate_volume_capabilities_response::Confirmed,
        volume_capability::AccessType,
    },
};

/// The size of a volume that was asked for without one.
const DEFAULT_BYTES: i64 = 1 << 30;

/// Makes and removes volumes.
#[derive(Debug)]
pub(crate) struct Controller {
    volumes: Arc<Volumes>,
    node: String,
}

impl Controller {
    pub(crate) fn new(volumes: Arc<Volumes>, node: String) -> Self {
        Self { volumes, node }
    }

    fn topology(&self) -> Topology {
        Topology {
            segments: HashMap::from([(TOPOLOGY.to_owned(), self.node.clone())]),
        }
    }

    /// A volume can only be made where the driver is.
    fn reachable(&self, wanted: Option<&TopologyRequirement>) -> Result<(), Status> {
        let wanted = wanted
            .map(|wanted| wanted.requisite.iter().chain(&wanted.preferred).collect::<Vec<_>>())
            .unwrap_or_default();
        let here = |topology: &&Topology| topology.segments.get(TOPOLOGY).is_none_or(|node| *node == self.node);
        if wanted.is_empty() || wanted.iter().any(here) {
            return Ok(());
        }
        Err(Status::resource_exhausted(format!(
            "volumes are made on node {} only",
            self.node
        )))
    }

    fn bytes(&self, range: Option<&CapacityRange>) -> Result<i64, Status> {
        let (required, limit) = range.map_or((0, 0), |range| (range.required_bytes, range.limit_bytes));
        if required < 0 || limit < 0 || (limit > 0 && required > limit) {
            return Err(Status::out_of_range("the capacity range is empty"));
        }
        let bytes = if required > 0 {
            required
        } else {
            DEFAULT_BYTES.min(if limit > 0 { limit } else { DEFAULT_BYTES })
        };
        let space = self.volumes.space()?;
        let free = i64::try_from(space.blocks_available().saturating_mul(space.fragment_size())).unwrap_or(i64::MAX);
        if bytes > free {
            return Err(Status::out_of_range(format!(
                "{bytes} bytes were asked for and node {} has {free} left",
                self.node
            )));
        }
        Ok(bytes)
    }
}

/// Directories can be mounted, by any number of pods of the node, and are no block devices.
pub(crate) fn check(capability: Option<&VolumeCapability>) -> Result<(), Status> {
    let capability = capability.ok_or_else(|| Status::invalid_argument("a volume capability is needed"))?;
    match capability.access_type {
        Some(AccessType::Mount(_)) => {}
        Some(AccessType::Block(_)) => {
            return Err(Status::invalid_argument("volumes are directories, not block devices"));
        }
        None => return Err(Status::invalid_argument("a volume capability needs an access type")),
    }
    if capability.access_mode.is_none_or(|mode| mode.mode == 0) {
        return Err(Status::invalid_argument("a volume capability needs an access mode"));
    }
    Ok(())
}

fn check_all(capabilities: &[VolumeCapability]) -> Result<(), Status> {
    if capabilities.is_empty() {
        return Err(Status::invalid_argument("volume capabilities are needed"));
    }
    capabilities.iter().try_for_each(|capability| check(Some(capability)))
}

#[tonic::async_trait]
impl controller_server::Controller for Controller {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        if request.name.is_empty() {
            return Err(Status::invalid_argument("a volume needs a name"));
        }
        check_all(&request.volume_capabilities)?;
        if request.volume_content_source.is_some() {
            return Err(Status::invalid_argument(
                "volumes are made empty: clones and snapshots are not served",
            ));
        }
        self.reachable(request.accessibility_requirements.as_ref())?;
        let id = Volumes::id(&request.name);
        let bytes = if let Some(found) = self.volumes.find(&id)? {
            let range = request.capacity_range.unwrap_or_default();
            let fits =
                found.bytes >= range.required_bytes && (range.limit_bytes == 0 || found.bytes <= range.limit_bytes);
            if found.name != request.name || !fits {
                return Err(Status::already_exists(format!(
                    "volume {} exists with {} bytes",
                    request.name, found.bytes
                )));
            }
            found.bytes
        } else {
            let bytes = self.bytes(request.capacity_range.as_ref())?;
            self.volumes.create(
                &id,
                &Record {
                    name: request.name,
                    bytes,
                },
            )?;
            tracing::info!(volume = id, bytes, "made");
            bytes
        };
        let volume = Volume {
            capacity_bytes: bytes,
            volume_id: id,
            volume_context: HashMap::new(),
            accessible_topology: vec![self.topology()],
        };
        Ok(Response::new(CreateVolumeResponse { volume: Some(volume) }))
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let id = request.into_inner().volume_id;
        if id.is_empty() {
            return Err(Status::invalid_argument("a volume id is needed"));
        }
        let (volumes, name) = (Arc::clone(&self.volumes), id.clone());
        let removed = tokio::task::spawn_blocking(move || volumes.delete(&name)).await;
        removed.map_err(|error| Status::internal(error.to_string()))??;
        tracing::info!(volume = id, "removed");
        Ok(Response::new(DeleteVolumeResponse {}))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        let request = request.into_inner();
        if request.volume_id.is_empty() || request.volume_capabilities.is_empty() {
            return Err(Status::invalid_argument("a volume id and capabilities are needed"));
        }
        if self.volumes.find(&request.volume_id)?.is_none() {
            return Err(Status::not_found("there is no such volume"));
        }
        let answer = match check_all(&request.volume_capabilities) {
            Ok(()) => ValidateVolumeCapabilitiesResponse {
                confirmed: Some(Confirmed {
                    volume_context: request.volume_context,
                    volume_capabilities: request.volume_capabilities,
                }),
                message: String::new(),
            },
            Err(why) => ValidateVolumeCapabilitiesResponse {
                confirmed: None,
                message: why.message().to_owned(),
            },
        };
        Ok(Response::new(answer))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let capability = |kind: rpc::Type| ControllerServiceCapability {
            r#type: Some(controller_service_capability::Type::Rpc(
                controller_service_capability::Rpc { r#type: kind.into() },
            )),
        };
        let capabilities = vec![
            capability(rpc::Type::CreateDeleteVolume),
            capability(rpc::Type::SingleNodeMultiWriter),
        ];
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities }))
    }
}
