internal import Bytes

/// What was applied on a flow, what the source was told of it, and when to tell it more
/// (protocol.md 2.10).
struct Acknowledgement {
    /// Room that `write` may need: `*3 $8 REPLCONF $3 ACK $19` and 19 digits, each line with CR LF.
    static let bytesLimit = 64
    /// Records applied beyond the last ACK that make the next one due at once.
    private static let recordsLimit: UInt64 = 1024

    var isAllowed = false
    private(set) var sent: UInt64?
    private var applied: UInt64?
    private var sentTime: Int64 = 0
    /// LSN after the last PING record, 0 before the first.
    private var pingEnd: UInt64 = 0
    private var owesPingAnswer = false

    mutating func advance(to next: UInt64) {
        guard next <= UInt64(Int64.max), next > applied ?? 0 || applied == nil else { return }
        applied = next
    }

    mutating func pingSeen(next: UInt64) {
        pingEnd = max(pingEnd, next)
        owesPingAnswer = true
    }

    /// True if there is something to tell.
    var isBehind: Bool { isAllowed && applied != nil && applied != sent }

    func isDue(now: Int64) -> Bool {
        guard isAllowed, let applied else { return false }
        guard let sent, !owesPingAnswer else { return true }
        guard applied > sent else { return false }
        // While a PING is not passed, the source waits for every step.
        return sent < pingEnd || applied - sent > Acknowledgement.recordsLimit
            || now - sentTime >= SessionTiming.acknowledgementInterval
    }

    mutating func write(now: Int64, into output: inout MirroredRing) {
        guard let applied else { return }
        let value = Int64(applied)
        output.append("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$")
        output.append(decimal: Int64(DecimalText.digitCount(value)))
        output.append("\r\n")
        output.append(decimal: value)
        output.append("\r\n")
        sent = applied
        sentTime = now
        owesPingAnswer = false
    }
}
