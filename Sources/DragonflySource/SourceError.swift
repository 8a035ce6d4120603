internal import Bytes

/// Why a session with the source ended. `message` says what failed, why, and what to do.
public struct SourceError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Kind: Sendable {
        /// No connection, or it ended before the session began. May be tried again.
        case unreachable
        /// Password wrong or missing. Trying again cannot help.
        case unauthenticated
        /// The source will not serve us as it is set up, or is no Dragonfly. Trying again cannot
        /// help.
        case refused
        /// The source is loading its data: try again later.
        case loading
        /// The session is lost: close everything, begin anew, resume if possible.
        case restart
        /// The same, but without asking for an LSN (protocol.md 8.2).
        case restartInFull
    }

    public var kind: Kind
    public var message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var description: String { message }

    /// Whether a new session may succeed without anybody changing anything.
    public var isWorthRetrying: Bool {
        switch kind {
        case .unreachable, .loading, .restart, .restartInFull: true
        case .unauthenticated, .refused: false
        }
    }

    /// An error reply (protocol.md 2.6), text without the `-`, to the command called `command`.
    init(reply text: ByteView, to command: String, credentials: Credentials?) {
        let isLogin = command == "AUTH"
        let user = credentials?.user ?? "default"
        // Some servers repeat the arguments of a command they refuse.
        let isSecret = isLogin && text.repeats(credentials?.password ?? "")
        let shown =
            "the source answered \(command) with "
            + (isSecret ? "an error that repeats the password" : "\"\(text.printable())\"")
        if text.starts(with: ByteView("NOAUTH")) {
            self.init(
                .unauthenticated,
                "\(shown): it wants a password, and none was accepted on this connection; set "
                    + "the source's password (and user, if it has ACL users)")
        } else if text.starts(with: ByteView("WRONGPASS")) {
            self.init(
                .unauthenticated,
                "\(shown): password or user name is wrong, or user \"\(user)\" is disabled; "
                    + "correct the source's user and password")
        } else if text.starts(with: ByteView("NOPERM")) {
            self.init(
                .refused,
                "\(shown): user \"\(user)\" lacks the permission; run on the source: "
                    + "ACL SETUSER \(user) \(SourceError.permissions)")
        } else if text.starts(with: ByteView("LOADING")) {
            self.init(.loading, "\(shown): it is still loading its data; try again later")
        } else if text.contains(ByteView("Replicating a replica")) {
            self.init(
                .refused,
                "\(shown): it is a replica itself; use the address of its master as the source")
        } else if text.contains(ByteView("restricted command")) {
            self.init(
                .refused,
                "\(shown): its --restricted_commands allows this on the admin port only; use the "
                    + "--admin_port of the source")
        } else if text.contains(ByteView("Bad TLS header")) {
            self.init(
                .refused,
                "\(shown): this port wants TLS; use a plain port of the source, for instance its "
                    + "--admin_port with --no_tls_on_admin_port")
        } else if isLogin {
            self.init(.unauthenticated, "\(shown); correct the source's user and password")
        } else {
            self.init(.restart, "\(shown)\(SourceError.explanation(of: text)); beginning anew")
        }
    }

    /// All that a session needs, on the control connection and on the flows.
    private static let permissions = "+replconf +dfly +ping +info"

    private static func explanation(of text: ByteView) -> String {
        if text.contains(ByteView("bad master id")) {
            return ": it has been restarted or replaced meanwhile"
        }
        if text.contains(ByteView("syncid not found")) {
            return ": it has dropped this session"
        }
        if text.contains(ByteView("invalid state")) {
            return ": the session is not in the state this command needs, a flow may be lost"
        }
        return ""
    }
}

extension ByteView {
    /// True if `part` occurs in this view. Quadratic; for error texts.
    fileprivate func contains(_ part: ByteView) -> Bool {
        guard part.count <= count else { return false }
        return (0...(count - part.count)).contains { slice($0, part.count).equals(part) }
    }

    fileprivate func repeats(_ secret: String) -> Bool {
        !secret.isEmpty && Array(secret.utf8).withByteView { contains($0) }
    }
}
