import Bytes

/// Listpacks, ziplists, intsets and the lists made of them.
extension ContainerCheck {
    /// The container in the next string.
    private mutating func open(
        _ cursor: inout WholeCursor, _ form: PackedCursor.Form
    ) throws(DecodeError) -> PackedCursor {
        try PackedCursor(form, containerScratch.decode(cursor.string()))
    }

    private mutating func close(_ container: PackedCursor) {
        if container.isDisputed { verdict.isVerbatimLoadable = false }
    }

    mutating func checkIntset(_ cursor: inout WholeCursor) throws(DecodeError) {
        var container = try open(&cursor, .intset)
        while try container.next() != nil { verdict.elementCount += 1 }
    }

    mutating func checkPackedSet(_ cursor: inout WholeCursor) throws(DecodeError) {
        var container = try open(&cursor, .listpack)
        let looksForDuplicates = try startDuplicates(container, elementsPerField: 1)
        while true {
            let start = container.position
            guard let member = try container.next() else { return close(container) }
            verdict.elementCount += 1
            if looksForDuplicates { try expectNew(member, at: start, in: container) }
        }
    }

    mutating func checkPackedHash(
        _ cursor: inout WholeCursor, _ form: PackedCursor.Form
    ) throws(DecodeError) {
        var container = try open(&cursor, form)
        let looksForDuplicates = try startDuplicates(container, elementsPerField: 2)
        while true {
            let start = container.position
            guard let field = try container.next() else { return close(container) }
            _ = try container.required()
            verdict.elementCount += 1
            if looksForDuplicates { try expectNew(field, at: start, in: container) }
        }
    }

    mutating func checkPackedZset(
        _ cursor: inout WholeCursor, _ form: PackedCursor.Form
    ) throws(DecodeError) {
        var container = try open(&cursor, form)
        let looksForDuplicates = try startDuplicates(container, elementsPerField: 2)
        var lastMember = PackedElement.integer(0)
        var lastScore = -Double.infinity
        while true {
            let start = container.position
            guard let member = try container.next() else { return close(container) }
            guard let score = try container.required().score else {
                throw DecodeError(.damagedContainer)
            }
            if looksForDuplicates { try expectNew(member, at: start, in: container) }
            // A server searches a packed sorted set by its order and never sorts it.
            if score < lastScore {
                verdict.isVerbatimLoadable = false
            } else if score == lastScore, verdict.elementCount > 0 {
                let last = try leftScratch.text(lastMember)
                let this = try rightScratch.text(member)
                if !last.sortsBefore(this) { verdict.isVerbatimLoadable = false }
            }
            verdict.elementCount += 1
            lastMember = member
            lastScore = score
        }
    }

    /// A server counts the elements of a list's node in 16 bits: of more, it loses some in silence.
    private static let listNodeElementsLimit = 65_535

    mutating func checkList(
        _ cursor: inout WholeCursor, _ type: ValueType
    ) throws(DecodeError) {
        let nodeCount = try cursor.count()
        for _ in 0..<nodeCount {
            let kind = type == .listQuicklist ? nil : try cursor.length()
            let bytes = try containerScratch.decode(cursor.string())
            switch ListNode(kind: kind, bytes) {
            case .raw:
                verdict.elementCount += 1
                // Only the new layout tells raw nodes apart, and a server refuses an empty one.
                if type == .listQuicklist || bytes.isEmpty { verdict.isVerbatimLoadable = false }
            case .packed(let form):
                let before = verdict.elementCount
                var container = try PackedCursor(form, bytes)
                while try container.next() != nil { verdict.elementCount += 1 }
                close(container)
                if !(1...Self.listNodeElementsLimit).contains(verdict.elementCount - before) {
                    verdict.isVerbatimLoadable = false
                }
            case nil:
                throw DecodeError(.damagedContainer)
            }
        }
    }

    /// Makes room for the container's fields; false if they are too many to look through, which
    /// leaves the value to commands.
    private mutating func startDuplicates(
        _ container: PackedCursor, elementsPerField: Int
    ) throws(DecodeError) -> Bool {
        var elements = 0
        if let count = container.announcedCount {
            elements = min(count, container.bytes.count)
        } else {
            var walk = container
            while try walk.next() != nil { elements += 1 }
        }
        let fields = elements / elementsPerField
        guard fields <= DuplicateFinder.limit else {
            verdict.isVerbatimLoadable = false
            return false
        }
        duplicates.start(count: fields)
        return true
    }

    /// Throws if the container has had an element with the same text as the one at `position`, or
    /// more fields than it announced.
    private mutating func expectNew(
        _ element: PackedElement, at position: Int, in container: PackedCursor
    ) throws(DecodeError) {
        guard duplicates.room > 0 else { throw DecodeError(.damagedContainer) }
        duplicates.search(element.textHash)
        while let earlier = duplicates.nextCandidate() {
            if try container.element(at: earlier).hasSameText(as: element) {
                throw DecodeError(.damagedContainer)
            }
        }
        duplicates.insert(position: position)
    }
}

/// What a node of a list holds (protocol.md 3.9.2, 3.9.3).
enum ListNode {
    /// One element.
    case raw
    case packed(PackedCursor.Form)

    /// Nil for a kind that does not exist.
    /// - Parameter kind: the container kind of the new layout, nil in the old one, which has none.
    init?(kind: UInt64?, _ bytes: ByteView) {
        switch kind {
        case 1: self = .raw
        case 2: self = .packed(.listpack)
        case nil: self = PackedCursor.looksLikeZiplist(bytes) ? .packed(.ziplist) : .raw
        default: return nil
        }
    }
}
