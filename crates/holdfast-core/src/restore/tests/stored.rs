//! What is stored in a RestoreJob's plan by newer versions.

use super::*;

/// Changes the plan as it is stored.
fn change_plan(world: &mut World, with: impl FnOnce(&mut Value)) {
    let status = world.seen.restore.status.as_mut().unwrap();
    let mut plan = serde_json::to_value(&status.plan).unwrap();
    with(&mut plan);
    status.plan = Some(serde_json::from_value(plan).unwrap());
}

#[test]
fn steps_and_access_of_a_newer_version_are_refused_and_left_as_they_are() {
    let table: [fn(&mut Value); 4] = [
        |plan| plan["steps"][0] = json!({"replay": {"until": "2025-01-01T00:00:00Z"}}),
        |plan| plan["steps"][0]["replay"] = json!({}),
        |plan| plan["steps"].as_array_mut().unwrap().push(json!({"replay": {}})),
        |plan| plan["steps"][0]["job"]["location"]["access"] = json!({"tool": {"url": "s3://bucket"}}),
    ];
    let mut suspended = 0;
    for (newer, steps) in table
        .into_iter()
        .flat_map(|newer| (1..12).map(move |steps| (newer, steps)))
    {
        let mut world = world(Some(true), Some(WriteEnd::Restored));
        for _ in 0..steps {
            world.step();
        }
        if world.seen.restore.phase() != RestoreJobPhase::InProgressPhy {
            continue;
        }
        change_plan(&mut world, newer);
        let kept = |world: &World| (world.seen.plan().cloned(), world.replicas(), world.suspend_lock());
        let before = kept(&world);
        suspended += usize::from(before.1 == 0);
        world.settle();
        world.now += 7 * 3600;
        world.settle();
        let status = world.seen.restore.status.clone().unwrap();
        assert_eq!(status.phase, Some(RestoreJobPhase::InProgressPhy));
        assert_eq!(status.conditions[0].reason, "NewerFormat");
        // Neither is the workload started, nor its lock taken, by who does not know how far the restore is.
        assert_eq!(kept(&world), before);
    }
    assert!(suspended > 0);
}

#[test]
fn members_of_a_newer_version_survive_to_the_end() {
    for end in [WriteEnd::Restored, WriteEnd::Dirty, WriteEnd::Clean] {
        let mut world = world(Some(true), Some(end));
        let put = |world: &mut World, value: &str| {
            let tool = world.seen.tool.as_mut().unwrap();
            tool.spec.env = serde_json::from_value(json!([{"name": "A", "value": value}])).unwrap();
        };
        put(&mut world, "a");
        while world.seen.plan().is_none() {
            world.step();
        }
        let paths = [
            "",
            "/workload",
            "/steps/0/job",
            "/steps/0/job/backup",
            "/steps/0/job/location",
            "/steps/0/job/tool",
        ];
        change_plan(&mut world, |plan| {
            for path in paths {
                plan.pointer_mut(path).unwrap()["later"] = json!({"at": path});
            }
        });
        // A tool with other values is planned anew meanwhile.
        let digests = |world: &World| world.seen.plan().unwrap().job().unwrap().tool.env_digests.clone();
        let before = digests(&world);
        put(&mut world, "b");
        world.settle();
        assert_ne!(digests(&world), before);
        let status = serde_json::to_string(&world.seen.restore.status).unwrap();
        assert_eq!(status.matches("\"later\":").count(), paths.len(), "{end:?}: {status}");
    }
}
