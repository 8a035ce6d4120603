import Operations
import Replication

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
            ("snapshot", JSONValue(progress.snapshot)),
            ("journal", JSONValue(progress.journal)),
            ("types", .array(JSONValue.types(of: progress))),
            ("flows", .array(JSONValue.flows(of: progress))),
            ("sourceKeys", .integer(progress.sourceKeys)),
            ("bytesRead", .integer(progress.bytesRead)),
            ("bytesSent", .integer(progress.bytesSent)),
            ("keysKept", .integer(progress.keysKept)),
            ("recordsOfKeptKeys", .integer(progress.recordsOfKeptKeys)),
            ("ghostKeys", .integer(progress.ghostKeys)),
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
            ("findings", .array(progress.findings.map { JSONValue($0) })),
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

    private static func json(_ risk: SourceRisk) -> JSONValue {
        .object([
            ("name", .string(risk.name)),
            ("weight", .string(risk.weight.rawValue)),
            ("problem", .string(risk.problem)),
            ("advice", .string(risk.advice)),
        ])
    }
}
