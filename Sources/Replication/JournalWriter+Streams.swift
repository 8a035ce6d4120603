internal import Bytes
internal import RedisTarget
internal import Wire

/// Streams (protocol.md 6.6).
extension JournalWriter {
    func stream(
        _ record: JournalRecord, _ rule: JournalRule, _ context: RecordContext,
        _ knowsEntriesRead: Bool, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        switch rule {
        case .streamAdd:
            switch addition(record) {
            case .settled: return try pass(record, context, target)
            case .generatesID:
                return .repair("XADD without a final id (Dragonfly 1.26 or older)")
            case .trimsRoughly: return .repair(JournalWriter.roughTrimming)
            }
        case .streamTrim:
            // XTRIM k MAXLEN | MINID [= | ~] x [LIMIT n]
            guard let mark = argument(record, 3), !mark.equals("~") else {
                return .repair(JournalWriter.roughTrimming)
            }
            return try pass(record, context, target)
        case .streamClaim:
            // XCLAIM and XAUTOCLAIM k g c min-idle ...
            guard argument(record, 4)?.parseInteger() == 0 else {
                return .repair("a claim by idle time would be decided anew by the target's clock")
            }
            return try pass(record, context, target)
        default:
            guard !knowsEntriesRead, let omitted = newOptions(record, rule) else {
                return try pass(record, context, target)
            }
            return try pass(record, context, target, omitting: omitted)
        }
    }

    private static let roughTrimming: StaticString =
        "approximate trimming ends where the source's nodes end (Dragonfly 1.26 or older)"

    private enum Addition {
        case settled
        case generatesID
        case trimsRoughly
    }

    // XADD k [NOMKSTREAM] [MAXLEN | MINID [= | ~] x [LIMIT n]] id f v...
    private func addition(_ record: JournalRecord) -> Addition {
        var arguments = record.arguments
        _ = arguments.next()
        _ = arguments.next()
        while let option = arguments.next() {
            if option.equalsIgnoringCase("NOMKSTREAM") { continue }
            if option.equalsIgnoringCase("MAXLEN") || option.equalsIgnoringCase("MINID") {
                guard let threshold = arguments.next() else { return .generatesID }
                if threshold.equals("~") { return .trimsRoughly }
                if threshold.equals("=") { _ = arguments.next() }
                continue
            }
            if option.equalsIgnoringCase("LIMIT") { return .trimsRoughly }
            let isFinal = option.count > 0 && option[option.count - 1] != UInt8(ascii: "*")
            return isFinal ? .settled : .generatesID
        }
        return .generatesID
    }

    // XGROUP CREATE | SETID k g id [MKSTREAM] [ENTRIESREAD n],
    // XSETID k id [ENTRIESADDED n] [MAXDELETEDID id]: what Redis 6 does not know of them.
    private func newOptions(_ record: JournalRecord, _ rule: JournalRule) -> Range<Int>? {
        if rule == .streamSetID {
            return record.argumentCount > 3 ? 3..<record.argumentCount : nil
        }
        for position in 5..<max(5, record.argumentCount) {
            if let option = argument(record, position), option.equalsIgnoringCase("ENTRIESREAD") {
                return position..<min(position + 2, record.argumentCount)
            }
        }
        return nil
    }

    // As it came but for some arguments.
    private func pass(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection,
        omitting omitted: Range<Int>
    ) throws(DecodeError) -> RecordOutcome {
        let bytes =
            record.payload.count + TargetConnection.argumentBytes(16) * record.argumentCount
        guard
            try target.begin(flow: context.flow, database: record.database, bytes: bytes)
        else { return .blocked }
        target.header(arguments: record.argumentCount - omitted.count)
        var arguments = record.arguments
        var index = 0
        while let argument = arguments.next() {
            if !omitted.contains(index) { target.argument(argument) }
            index += 1
        }
        end(.journal, record, context, target)
        return .sent
    }
}
