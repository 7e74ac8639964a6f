//! The fields of each kind, as the API reference has them, and, at the end of each list, those that are Holdfast's own.

pub(crate) const BACKUP: &str = r#"
spec! object
spec.backupPolicyName! string @name
spec.backupType string default="datafile" enum=["datafile","logfile","snapshot"]
spec.parentBackupName string
status object
status.phase string enum=["New","InProgress","Running","Completed","Failed","Deleting"]
status.parentBackupName string
status.expiration @time
status.startTimestamp @time
status.completionTimestamp @time
status.duration string
status.totalSize string
status.failureReason string
status.persistentVolumeClaimName string
status.logFilePersistentVolumeClaimName string
status.backupToolName string
status.sourceCluster string
status.availableReplicas @int32
status.manifests object
status.manifests.backupLog object
status.manifests.backupLog.startTime @time
status.manifests.backupLog.stopTime @time
status.manifests.target string
status.manifests.backupSnapshot object
status.manifests.backupSnapshot.volumeSnapshotName string
status.manifests.backupSnapshot.volumeSnapshotContentName string
status.manifests.backupTool object
status.manifests.backupTool.filePath string
status.manifests.backupTool.logFilePath string
status.manifests.backupTool.volumeName string
status.manifests.backupTool.uploadTotalSize string
status.manifests.backupTool.checksum string
status.manifests.backupTool.checkpoint string
status.manifests.userContext object
status.manifests.userContext{} string

spec.cancel boolean
spec.deadlineSeconds @int64 minimum=1.0
+ conditions status.conditions
status.observedGeneration @int64
status.plan object
status.plan.run! @int32
status.plan.policyUid! string
status.plan.policy! @free
status.plan.repoName string
status.plan.repoUid string
status.plan.persistentVolumeClaimName! string
status.plan.path! string
status.plan.toolName! string
status.plan.tool! @free
status.plan.image! string
status.plan.imagePullSecrets array
status.plan.imagePullSecrets[] @free
status.plan.jobName! string
status.plan.backoffLimit! @int32
status.plan.deadline! @time
status.plan.podName! string
status.plan.podUid! string
status.plan.nodeName! string
status.plan.host! string
status.plan.ttl string
status.plan.allowEmpty boolean default=false
+ secret status.plan.secret
"#;

pub(crate) const POLICY: &str = r#"
spec! object
spec.retention object
spec.retention.ttl string pattern="^\\d+[dDhH]$"
spec.schedule object
spec.schedule.startingDeadlineMinutes @int64 maximum=1440.0 minimum=0.0
+ schedule spec.schedule.snapshot
+ schedule spec.schedule.datafile
+ schedule spec.schedule.logfile
+ base spec.snapshot
spec.snapshot.hooks object
+ commands spec.snapshot.hooks.preCommands
+ commands spec.snapshot.hooks.postCommands
spec.snapshot.hooks.image string
spec.snapshot.hooks.containerName string
+ base spec.datafile
+ common spec.datafile
+ base spec.logfile
+ common spec.logfile
status object
status.observedGeneration @int64
status.phase string enum=["Available","Failed"]
status.failureReason string
status.lastScheduleTime @time
status.lastSuccessfulTime @time

+ conditions status.conditions
status.schedules object
status.schedules{} object
status.schedules{}.enabled boolean default=false
status.schedules{}.expression string
status.schedules{}.settledUntil @time
status.schedules{}.missed object
status.schedules{}.missed.reason! string
status.schedules{}.missed.message! string
"#;

pub(crate) const REPO: &str = r#"
spec! object
spec.storageProviderRef! string x-kubernetes-validations=[{"message":"StorageProviderRef is immutable","rule":"self == oldSelf"}]
spec.volumeCapacity @quantity
spec.pvReclaimPolicy! string enum=["Delete","Retain"]
spec.config object
spec.config{} string
+ reference spec.credential
status object
status.phase string enum=["PreChecking","Failed","Ready","Deleting"]
+ conditions status.conditions
status.observedGeneration @int64
+ reference status.generatedCSIDriverSecret
status.generatedStorageClassName string
status.backupPVCName string
status.isDefault boolean

status.waitingSince @time
status.deletion object
status.deletion.since @time
status.deletion.volumesSince @time
"#;

pub(crate) const TOOL: &str = r#"
spec! object
spec.image! string
spec.deployKind string default="job" enum=["job","statefulSet"]
spec.type string default="file" enum=["file","pitr"]
spec.resources @free
spec.env array
spec.env[] @free
spec.envFrom array
spec.envFrom[] @free
spec.backupCommands! array
spec.backupCommands[] string
+ commands spec.incrementalBackupCommands
spec.physical object
+ commands spec.physical.restoreCommands
+ commands spec.physical.incrementalRestoreCommands
spec.physical.relyOnLogfile boolean
spec.logical object
+ commands spec.logical.restoreCommands
+ commands spec.logical.incrementalRestoreCommands
spec.logical.podScope string default="All" enum=["All","ReadWrite"]
status object
"#;

pub(crate) const RESTORE: &str = r#"
spec! object
spec.backupJobName! string
spec.target! object
spec.target.labelsSelector! @free
+ secret spec.target.secret
spec.targetVolumes! array minItems=1
spec.targetVolumes[] @free
spec.targetVolumeMounts! array minItems=1
spec.targetVolumeMounts[] @free
spec.onFailAttempted @int32
status object
status.phase string enum=["New","InProgressPhy","InProgressLogic","Completed","Failed"]
status.expiration @time
status.startTimestamp @time
status.completionTimestamp @time
status.failureReason string

spec.replace boolean
+ conditions status.conditions
status.observedGeneration @int64
status.plan object
status.plan.backupUid! string
status.plan.backupName! string
status.plan.persistentVolumeClaimName! string
status.plan.path! string
status.plan.toolName! string
status.plan.tool! @free
status.plan.image! string
status.plan.imagePullSecrets array
status.plan.imagePullSecrets[] @free
status.plan.workloadKind! string
status.plan.workloadName! string
status.plan.workloadUid! string
status.plan.replicas! @int32
status.plan.nodeName string
status.plan.verifyJobName! string
status.plan.restoreJobName! string
status.plan.backoffLimit! @int32
status.plan.deadline! @time
status.plan.digest! string
"#;

pub(crate) const PROVIDER: &str = r#"
spec! object
spec.csiDriverName string
spec.csiDriverSecretTemplate string
spec.storageClassTemplate string
spec.persistentVolumeClaimTemplate string
spec.parametersSchema object
spec.parametersSchema.openAPIV3Schema @free
spec.parametersSchema.credentialFields array
spec.parametersSchema.credentialFields[] string
status object
status.phase string enum=["NotReady","Ready"]
+ conditions status.conditions
"#;
