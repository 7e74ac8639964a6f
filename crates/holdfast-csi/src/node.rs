//! Service Node: mounts volumes for pods of this node.

use std::{
    collections::HashMap,
    fs, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use nix::sys::statvfs::statvfs;
use tonic::{Request, Response, Status};

use crate::{
    TOPOLOGY, controller, mounts,
    volumes::{Volumes, internal},
    wire::csi::{
        NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
        NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse,
        NodeServiceCapability, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, Topology, VolumeUsage,
        node_server,
        node_service_capability::{self, rpc},
        volume_usage::Unit,
    },
};

/// Mounts volumes.
#[derive(Debug)]
pub(crate) struct Node {
    volumes: Arc<Volumes>,
    node: String,
}

impl Node {
    pub(crate) fn new(volumes: Arc<Volumes>, node: String) -> Self {
        Self { volumes, node }
    }
}

/// A path that kubelet may ask for: absolute and without steps up.
fn target(path: &str) -> Result<PathBuf, Status> {
    let path = Path::new(path);
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(Status::invalid_argument("the target path must be absolute"));
    }
    Ok(path.to_owned())
}

fn needed<'a>(value: &'a str, what: &str) -> Result<&'a str, Status> {
    if value.is_empty() {
        Err(Status::invalid_argument(format!("{what} is needed")))
    } else {
        Ok(value)
    }
}

fn usage(total: u64, available: u64, free: u64, factor: u64, unit: Unit) -> VolumeUsage {
    let count = |blocks: u64| i64::try_from(blocks.saturating_mul(factor)).unwrap_or(i64::MAX);
    VolumeUsage {
        available: count(available),
        total: count(total),
        used: count(total.saturating_sub(free)),
        unit: unit.into(),
    }
}

#[tonic::async_trait]
impl node_server::Node for Node {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = needed(&request.volume_id, "a volume id")?;
        let target = target(needed(&request.target_path, "a target path")?)?;
        controller::check(request.volume_capability.as_ref())?;
        let source = self.volumes.path(id)?;
        if !source.is_dir() {
            return Err(Status::not_found(format!(
                "there is no volume {id} on node {}",
                self.node
            )));
        }
        let mounted = mounts::is_mounted(&target).map_err(|error| internal("reading the mounts", &error))?;
        if !mounted {
            fs::create_dir_all(&target).map_err(|error| internal("making the target", &error))?;
            mounts::bind(&source, &target, request.readonly)
                .map_err(|error| Status::internal(format!("mounting volume {id}: {error}")))?;
            tracing::info!(volume = id, target = %target.display(), readonly = request.readonly, "mounted");
        }
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = needed(&request.volume_id, "a volume id")?;
        let target = target(needed(&request.target_path, "a target path")?)?;
        mounts::unbind(&target).map_err(|error| Status::internal(format!("unmounting volume {id}: {error}")))?;
        // Only the empty folder that the mount was on: a volume is never reached through it.
        match fs::remove_dir(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(internal("removing the target", &error)),
            _ => Ok(Response::new(NodeUnpublishVolumeResponse {})),
        }
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        let id = needed(&request.volume_id, "a volume id")?;
        let path = PathBuf::from(needed(&request.volume_path, "a volume path")?);
        if self.volumes.find(id)?.is_none() || !path.is_absolute() || !path.is_dir() {
            return Err(Status::not_found(format!("volume {id} is not at {}", path.display())));
        }
        let space = statvfs(&path).map_err(|error| Status::internal(format!("measuring volume {id}: {error}")))?;
        let usage = vec![
            usage(
                space.blocks(),
                space.blocks_available(),
                space.blocks_free(),
                space.fragment_size(),
                Unit::Bytes,
            ),
            usage(
                space.files(),
                space.files_available(),
                space.files_free(),
                1,
                Unit::Inodes,
            ),
        ];
        Ok(Response::new(NodeGetVolumeStatsResponse { usage }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let capability = |kind: rpc::Type| NodeServiceCapability {
            r#type: Some(node_service_capability::Type::Rpc(node_service_capability::Rpc {
                r#type: kind.into(),
            })),
        };
        let capabilities = vec![
            capability(rpc::Type::GetVolumeStats),
            capability(rpc::Type::SingleNodeMultiWriter),
        ];
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.node.clone(),
            max_volumes_per_node: 0,
            accessible_topology: Some(Topology {
                segments: HashMap::from([(TOPOLOGY.to_owned(), self.node.clone())]),
            }),
        }))
    }
}
