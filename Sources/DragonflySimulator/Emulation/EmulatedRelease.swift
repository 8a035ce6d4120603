/// A Dragonfly release whose behaviour a master with a keyspace of its own takes on: encodings,
/// framing, journal and the procedure of a partial sync (protocol.md 1.1, 1.4 and 8.1).
public enum EmulatedRelease: String, CaseIterable, Sendable {
    case v1_20 = "1.20"
    case v1_30 = "1.30"
    case v1_35 = "1.35"
    case v1_40 = "1.40"
    /// What protocol.md calls HEAD.
    case newest

    /// As INFO prints it.
    public var text: String {
        switch self {
        case .v1_20: "df-v1.20.1"
        case .v1_30: "df-v1.30.3"
        case .v1_35: "df-v1.35.0"
        case .v1_40: "df-v1.40.0"
        case .newest: "df-v1.40.0-87-gf8eca6d0b"
        }
    }

    /// A number that compares: 1.40 is 1040.
    var number: Int {
        switch self {
        case .v1_20: 1020
        case .v1_30: 1030
        case .v1_35: 1035
        case .v1_40: 1040
        case .newest: 1041
        }
    }

    /// The fourth element of the CAPA reply (protocol.md 1.1).
    var protocolVersion: Int {
        number >= 1037 ? 5 : 4
    }

    /// Whether the CAPA reply has the lineage id as fifth element.
    var sendsLineage: Bool { number >= 1040 }
}
