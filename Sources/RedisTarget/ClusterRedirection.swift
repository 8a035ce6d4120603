public import Bytes

/// What an error reply of a cluster node says of where a command belongs. Its views are as valid as
/// the reply.
public enum ClusterRedirection: Equatable {
    /// The slot lies elsewhere for good. An empty host is that of the node that answered.
    case moved(slot: UInt16, host: ByteView, port: UInt16)
    /// This command is to be sent there behind ASKING, later ones still to the node that answered.
    case ask(slot: UInt16, host: ByteView, port: UInt16)
    /// Some of the command's keys have moved already, others not.
    case tryAgain
    case clusterDown
    case loading
    /// A replica answered.
    case readOnly
    case masterDown
    /// The command's keys lie in different slots.
    case crossSlot

    /// - Parameter error: without the leading `-`.
    /// - Returns: nil if it is an error of another kind. That a transaction was given up for an error
    ///   of one of its commands is such: the command's own reply says where it belongs.
    public init?(_ error: ByteView) {
        let aborted: ByteView = "EXECABORT Transaction discarded because of: "
        // What keeps EXEC itself from being run.
        let text = error.starts(with: aborted) ? error.dropFirst(aborted.count) : error
        let code = text.word
        if code.equals("MOVED") || code.equals("ASK") {
            guard code.count < text.count,
                let place = ClusterRedirection.place(text.dropFirst(code.count + 1))
            else { return nil }
            self =
                code.equals("ASK")
                ? .ask(slot: place.slot, host: place.host, port: place.port)
                : .moved(slot: place.slot, host: place.host, port: place.port)
        } else if code.equals("TRYAGAIN") {
            self = .tryAgain
        } else if code.equals("CLUSTERDOWN") {
            self = .clusterDown
        } else if code.equals("LOADING") {
            self = .loading
        } else if code.equals("READONLY") {
            self = .readOnly
        } else if code.equals("MASTERDOWN") {
            self = .masterDown
        } else if code.equals("CROSSSLOT") {
            self = .crossSlot
        } else {
            return nil
        }
    }

    /// `3999 127.0.0.1:6381`.
    private static func place(
        _ text: ByteView
    ) -> (slot: UInt16, host: ByteView, port: UInt16)? {
        let number = text.word
        guard let slot = number.parseInteger(), (0..<16384).contains(slot),
            number.count < text.count
        else { return nil }
        let address = text.dropFirst(number.count + 1).word
        // An IPv6 address stands without brackets.
        var colon = address.count - 1
        while colon >= 0, address[colon] != UInt8(ascii: ":") { colon -= 1 }
        guard colon >= 0, let port = address.dropFirst(colon + 1).parseInteger(),
            (1...65535).contains(port)
        else { return nil }
        let host = address.slice(0, colon)
        // A node that shall announce a host name and has none says "?".
        return (UInt16(slot), host.equals("?") ? ByteView() : host, UInt16(port))
    }

    public static func == (left: ClusterRedirection, right: ClusterRedirection) -> Bool {
        switch (left, right) {
        case (.moved(let slot, let host, let port), .moved(let slot2, let host2, let port2)),
            (.ask(let slot, let host, let port), .ask(let slot2, let host2, let port2)):
            slot == slot2 && host.equals(host2) && port == port2
        case (.tryAgain, .tryAgain), (.clusterDown, .clusterDown), (.loading, .loading),
            (.readOnly, .readOnly), (.masterDown, .masterDown), (.crossSlot, .crossSlot):
            true
        default: false
        }
    }
}

extension ByteView {
    /// What stands before the first space.
    fileprivate var word: ByteView {
        var end = 0
        while end < count, self[end] != UInt8(ascii: " ") { end += 1 }
        return slice(0, end)
    }
}
