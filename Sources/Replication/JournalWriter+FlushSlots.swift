internal import Bytes
internal import RedisTarget
internal import Wire

/// The slots that a DFLYCLUSTER FLUSHSLOTS names: pairs of first and last (protocol.md 5.7).
struct SlotRanges {
    var ranges: [ClosedRange<Int>] = []

    func contains(_ slot: Int) -> Bool { ranges.contains { $0.contains(slot) } }
}

extension SlotRanges {
    /// Nil if the record says something else.
    init?(_ record: JournalRecord) {
        var arguments = record.arguments
        guard record.argumentCount >= 4, record.argumentCount % 2 == 0, arguments.next() != nil,
            arguments.next()?.equalsIgnoringCase("FLUSHSLOTS") == true
        else { return nil }
        self.init()
        while let first = arguments.next(), let last = arguments.next() {
            guard let first = first.parseInteger(), let last = last.parseInteger(), first >= 0,
                first <= last, last < 16384
            else { return nil }
            ranges.append(Int(first)...Int(last))
        }
    }
}

/// FLUSHSLOTS: no command of a target empties slots, and one that is no cluster has none.
extension JournalWriter {
    /// Has a server delete the next page of its keys that lie in the record's slots.
    /// - Parameter cursor: "0", then what the last reply says, until that is "0" again.
    func writeFlushOfSlots(
        _ record: JournalRecord, _ context: RecordContext, cursor: ByteView,
        to target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        let script = ByteView(JournalWriter.flushSlotsScript)
        let bytes =
            script.count + cursor.count + record.payload.count
            + TargetConnection.argumentBytes(8) * (record.argumentCount + 4)
        guard
            try target.begin(
                flow: context.flow, database: record.database, bytes: bytes, demand: .nothing)
        else { return .blocked }
        target.header(arguments: record.argumentCount + 2)
        target.argument("EVAL")
        target.argument(script)
        target.argument("0")
        target.argument(cursor)
        var arguments = record.arguments
        for place in 0..<record.argumentCount {
            guard let argument = arguments.next(), place >= 2 else { continue }
            target.argument(argument)
        }
        target.end(
            .flush, flow: context.flow, database: record.database, nextLSN: context.nextLSN)
        return .sent
    }

    /// Our own keys stay: values are built there. A key whose slot is on its way to this server cannot be
    /// deleted yet, nor any on one that is a replica by now: then all is to be done again.
    /// A call computes 500 slots, which takes a target two to three milliseconds. A master of a cluster may
    /// know before that it has none of them, if it tells.
    static let flushSlotsScript: StaticString = """
        local flushed = {}
        for place = 2, #ARGV, 2 do
            for slot = tonumber(ARGV[place]), tonumber(ARGV[place + 1]) do flushed[slot] = true end
        end
        local count = ARGV[1] == '0' and 0
        for slot in pairs(count and flushed or {}) do
            local reply = redis.pcall('CLUSTER', 'COUNTKEYSINSLOT', slot)
            count = type(reply) == 'number' and count + reply
            if count ~= 0 then break end
        end
        if count == 0 then return '0' end
        local bxor, byte, find = bit.bxor, string.byte, string.find
        local crcs = {}
        for high = 0, 255 do
            local crc = high * 256
            for _ = 1, 8 do
                crc = crc * 2
                if crc >= 65536 then crc = bxor(crc - 65536, 0x1021) end
            end
            crcs[high] = crc
        end
        local function slot(key)
            local open = find(key, '{', 1, true)
            local close = open and find(key, '}', open + 1, true)
            local first, last = 1, #key
            if close and close > open + 1 then first, last = open + 1, close - 1 end
            local crc = 0
            for place = first, last do
                local low = crc % 256
                crc = bxor(low * 256, crcs[bxor((crc - low) / 256, byte(key, place))])
            end
            return crc % 16384
        end
        local page = redis.call('SCAN', ARGV[1], 'COUNT', 500)
        for _, key in ipairs(page[2]) do
            if string.sub(key, 1, 10) ~= 'df2redis:{' and flushed[slot(key)] then
                local reply = redis.pcall('UNLINK', key)
                local refusal = type(reply) == 'table' and reply.err
                local waits = refusal
                    and (find(refusal, 'attempted to', 1, true) or find(refusal, 'READONLY', 1, true))
                if waits then
                    return redis.error_reply('TRYAGAIN ' .. refusal)
                elseif refusal then
                    return reply
                end
            end
        end
        return page[1]
        """
}
