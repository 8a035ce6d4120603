public import Replication
internal import Wire

/// Parts that status and report have in common.
extension JSONValue {
    public init(_ counts: RecordCounts) {
        self = .object([
            ("read", .integer(counts.read)),
            ("applied", .integer(counts.applied)),
            ("filtered", .integer(counts.filtered)),
            ("skipped", .integer(counts.skipped)),
            ("repaired", .integer(counts.repaired)),
            ("failed", .integer(counts.failed)),
            ("pending", .integer(counts.pending)),
        ])
    }

    public init(_ finding: Finding) {
        self = .object([
            ("kind", .string(finding.kind.rawValue)),
            ("database", .integer(finding.database)),
            ("key", .string(finding.key)),
            ("command", .string(finding.command)),
            ("reason", .string(finding.reason)),
        ])
    }

    /// Records by type, over all flows.
    public static func types(of progress: Progress) -> [JSONValue] {
        types(progress.snapshotByType, progress.journalByType)
    }

    // Types of which nothing was read are left out.
    private static func types(_ snapshot: CountsByType, _ journal: CountsByType) -> [JSONValue] {
        let present = RecordType.allCases.filter {
            snapshot[$0] != RecordCounts() || journal[$0] != RecordCounts()
        }
        return present.map { type in
            .object([
                ("type", .string(type.name)), ("snapshot", JSONValue(snapshot[type])),
                ("journal", JSONValue(journal[type])),
            ])
        }
    }

    public static func flows(of progress: Progress) -> [JSONValue] {
        progress.flows.enumerated().map { index, flow in
            .object([
                ("flow", .integer(index)),
                ("phase", .string(flow.phase.name)),
                ("lsn", .unsigned(flow.appliedLSN)),
                ("bytesRead", .integer(flow.bytesRead)),
                ("snapshot", JSONValue(flow.snapshot)),
                ("journal", JSONValue(flow.journal)),
                ("types", .array(types(flow.snapshotByType, flow.journalByType))),
            ])
        }
    }
}
