import Replication
import Wire

extension RunOutcome {
    /// The whole report, as `report.json` holds it.
    var json: JSONValue {
        let progress = report.progress
        let positions = progress.flows.map { JSONValue.unsigned($0.appliedLSN) }
        return .object([
            ("version", .integer(Self.reportVersion)),
            ("program", .string("df2redis " + programVersion)),
            ("command", .string(commandName)),
            ("task", .string(settings.taskName)),
            ("outcome", .string(sentence)),
            ("exitCode", .integer(Int(exitStatus))),
            ("error", report.error.map(Self.json) ?? .null),
            ("stopped", .boolean(report.stopped)),
            ("signal", stopSignal.map { .integer(Int($0)) } ?? .null),
            ("elapsedSeconds", .integer(elapsedSeconds)),
            ("source", server(settings.source, report.sourceVersion, id: report.sourceID)),
            ("target", server(settings.target, report.targetVersion, id: nil)),
            ("fullSyncComplete", .boolean(isFullSyncComplete)),
            ("laterWritesIncluded", .boolean(settings.mode == .replicate)),
            ("lsn", .array(positions)),
            ("snapshot", Self.json(progress.snapshot)),
            ("journal", Self.json(progress.journal)),
            ("types", .array(Self.types(progress.snapshotByType, progress.journalByType))),
            ("flows", .array(progress.flows.enumerated().map(Self.json))),
            ("sourceKeys", .integer(progress.sourceKeys)),
            ("bytesRead", .integer(progress.bytesRead)),
            ("bytesSent", .integer(progress.bytesSent)),
            ("keysKept", .integer(progress.keysKept)),
            ("recordsOfKeptKeys", .integer(progress.recordsOfKeptKeys)),
            ("ghostKeys", .integer(progress.ghostKeys)),
            ("misplacedKeys", .integer(progress.misplacedKeys)),
            ("keysRepaired", .integer(progress.keysRepaired)),
            ("keysToRepair", .integer(progress.keysToRepair)),
            ("memberExpiriesDropped", .integer(progress.memberExpiriesDropped)),
            ("elementsRemoved", .integer(progress.elementsRemoved)),
            ("elementsOpen", .integer(progress.elementsOpen)),
            ("jsonTextsWritten", .integer(progress.jsonTextsWritten)),
            ("stickyFlagsDropped", .integer(progress.stickyFlagsDropped)),
            ("memcachedFlagsDropped", .integer(progress.memcachedFlagsDropped)),
            ("pendingEntriesDropped", .integer(progress.pendingEntriesDropped)),
            ("expiriesNotHeld", .integer(progress.expiriesNotHeld)),
            ("scriptsLoaded", .integer(progress.scriptsLoaded)),
            ("sourceRisks", .array(progress.sourceRisks.map(Self.json))),
            ("deadLetters", deadLetters),
            ("findings", .array(progress.findings.map(Self.json))),
        ])
    }

    private var deadLetters: JSONValue {
        let progress = report.progress.deadLetters
        return .object([
            ("file", deadLetterPath.map { .string($0) } ?? .null),
            ("lines", .integer(progress.lines)),
            ("more", .integer(progress.more)),
            ("error", progress.error.map { .string($0) } ?? .null),
        ])
    }

    private func server(_ endpoint: Endpoint, _ version: String, id: String?) -> JSONValue {
        var members: [(String, JSONValue)] = [
            ("address", .string(endpoint.description)), ("version", .string(version)),
        ]
        if let id { members.append(("id", .string(id))) }
        return .object(members)
    }

    private static func json(_ error: RunError) -> JSONValue {
        let kind =
            switch error.kind {
            case .unreachable: "unreachable"
            case .refused: "refused"
            case .interrupted: "interrupted"
            }
        return .object([("kind", .string(kind)), ("message", .string(error.message))])
    }

    private static func json(_ counts: RecordCounts) -> JSONValue {
        .object([
            ("read", .integer(counts.read)),
            ("applied", .integer(counts.applied)),
            ("filtered", .integer(counts.filtered)),
            ("skipped", .integer(counts.skipped)),
            ("repaired", .integer(counts.repaired)),
            ("failed", .integer(counts.failed)),
            ("pending", .integer(counts.pending)),
        ])
    }

    // Types of which nothing was read are left out.
    private static func types(_ snapshot: CountsByType, _ journal: CountsByType) -> [JSONValue] {
        let present = RecordType.allCases.filter {
            snapshot[$0] != RecordCounts() || journal[$0] != RecordCounts()
        }
        return present.map { type in
            .object([
                ("type", .string(type.name)), ("snapshot", json(snapshot[type])),
                ("journal", json(journal[type])),
            ])
        }
    }

    private static func json(_ index: Int, _ flow: FlowProgress) -> JSONValue {
        .object([
            ("flow", .integer(index)),
            ("phase", .string(ProgressText.name(of: flow.phase))),
            ("lsn", .unsigned(flow.appliedLSN)),
            ("bytesRead", .integer(flow.bytesRead)),
            ("snapshot", json(flow.snapshot)),
            ("journal", json(flow.journal)),
            ("types", .array(types(flow.snapshotByType, flow.journalByType))),
        ])
    }

    private static func json(_ risk: SourceRisk) -> JSONValue {
        .object([
            ("name", .string(risk.name)),
            ("weight", .string(risk.weight.rawValue)),
            ("problem", .string(risk.problem)),
            ("advice", .string(risk.advice)),
        ])
    }

    private static func json(_ finding: Finding) -> JSONValue {
        .object([
            ("kind", .string(finding.kind.rawValue)),
            ("database", .integer(finding.database)),
            ("key", .string(finding.key)),
            ("command", .string(finding.command)),
            ("reason", .string(finding.reason)),
        ])
    }
}
