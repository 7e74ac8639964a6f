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
+ waiting status.waiting
status.deletion @free
status.deletion.trouble string
status.deletion.since @time
status.plan @free
status.plan.run @count
status.plan.policyUid @text
status.plan.deadline @time
status.plan.ttl string
status.plan.source @free
status.plan.source.podName @text
status.plan.source.podUid @text
status.plan.source.nodeName @text
status.plan.source.host @text
+ location status.plan.location
status.plan.work @one-of job: kind of work
status.plan.work.job @free
status.plan.work.job.jobName @text
status.plan.work.job.policy @free
+ tool status.plan.work.job.tool
status.plan.work.job.backoffLimit @count
status.plan.work.job.failedAttempts @count
status.plan.work.job.allowEmpty boolean default=false
+ pull status.plan.work.job
status.plan.work.job.tolerations array
status.plan.work.job.tolerations[] @free
status.plan.work.job.securityContext @free
+ secret status.plan.work.job.secret
+ stop status.plan.stop
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
+ waiting status.waiting
status.schedules object
status.schedules{} @free
status.schedules{}.enabled boolean default=false
status.schedules{}.expression string
status.schedules{}.settledUntil @time
status.schedules{}.missed @free
status.schedules{}.missed.reason @text
status.schedules{}.missed.message @text
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
status.deletion @free
status.deletion.since @time
status.deletion.volumesSince @time
status.troubles array
status.troubles[] @free
status.troubles[].check @text
status.troubles[].reason @text
status.namespaces array
status.namespaces[] @free
status.namespaces[].namespace @text
status.namespaces[].identity @text
status.namespaces[].claimUid string
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

status.phase string enum=["Available","Failed"]
status.failureReason string
status.observedGeneration @int64
+ conditions status.conditions
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
spec.allowUnusedTargets boolean
+ conditions status.conditions
status.observedGeneration @int64
+ waiting status.waiting
status.plan @free
status.plan.deadline @time
status.plan.workload @free
status.plan.workload.kind @text
status.plan.workload.name @text
status.plan.workload.uid @text
status.plan.workload.replicas @count
status.plan.nodeName string
status.plan.steps array maxItems=32
status.plan.steps[] @one-of job: kind of step
status.plan.steps[].job @free
status.plan.steps[].job.backup @free
status.plan.steps[].job.backup.name @text
status.plan.steps[].job.backup.uid @text
+ location status.plan.steps[].job.location
status.plan.steps[].job.digest @text
+ tool status.plan.steps[].job.tool
+ pull status.plan.steps[].job
status.plan.steps[].job.verifyJobName @text
status.plan.steps[].job.restoreJobName @text
status.plan.steps[].job.backoffLimit @count
status.plan.writing @free
status.plan.writing.attempt @count
status.plan.writing.since @moment
status.plan.writing.secondWriter string
status.plan.writing.podsKept boolean
+ stop status.plan.writing.withdrawn
+ stop status.plan.stop
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
