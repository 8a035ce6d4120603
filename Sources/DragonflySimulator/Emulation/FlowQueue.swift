/// The bytes of one flow on their way to its socket, and which LSNs a replica may acknowledge once
/// it has them. Positions count from the first byte after the reply to `DFLY FLOW`.
struct FlowQueue {
    /// Behind this position the flow stands at `lsn`.
    private struct Mark {
        let end: Int
        let lsn: UInt64
    }

    private var pending: [UInt8] = []
    /// The position behind the last byte queued.
    private(set) var end = 0
    /// Bytes that the socket took.
    private(set) var sent = 0
    private var marks: [Mark] = []
    private var marksStart = 0
    private var pings: [Mark] = []
    /// The next LSN of a replica that has read all bytes handed to the socket; nil before stable.
    private(set) var deliveredLSN: UInt64?

    var unsent: Int { end - sent }
    var isEmpty: Bool { pending.isEmpty }

    mutating func append(_ bytes: [UInt8]) {
        pending += bytes
        end += bytes.count
    }

    /// A replica that has everything queued so far stands at `lsn`.
    mutating func mark(_ lsn: UInt64) {
        marks.append(Mark(end: end, lsn: lsn))
    }

    /// A PING entry was queued last; an ACK of `lsn` or more answers it.
    mutating func markPing(_ lsn: UInt64) {
        pings.append(Mark(end: end, lsn: lsn))
    }

    /// Everything queued and not taken yet; empty if there is nothing.
    mutating func take() -> [UInt8] {
        let bytes = pending
        pending = []
        return bytes
    }

    /// The socket is about to get the bytes before `position`.
    mutating func handing(to position: Int) {
        while marksStart < marks.count, marks[marksStart].end <= position {
            deliveredLSN = marks[marksStart].lsn
            marksStart += 1
        }
        if marksStart > 1024 && marksStart * 2 > marks.count {
            marks.removeFirst(marksStart)
            marksStart = 0
        }
    }

    /// The socket has taken the bytes before `position`; returns the LSNs that answer the PINGs
    /// among them.
    mutating func taken(to position: Int) -> [UInt64] {
        sent = position
        var answers: [UInt64] = []
        while let ping = pings.first, ping.end <= position {
            answers.append(ping.lsn)
            pings.removeFirst()
        }
        return answers
    }
}
