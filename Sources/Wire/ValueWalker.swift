public import Bytes

/// Walks over an encoded value to find where it ends, without keeping any of it (protocol.md 3.9).
///
/// It is resumable: bytes that were passed are never looked at again. It checks what it needs to
/// stay in step, no more: the structure inside a str (listpack, intset ...) is not its business.
public struct ValueWalker {
    // Loops nest three deep at most: groups, consumers, pending ids of a stream.
    private static let depthMaximum = 3

    private struct Loop {
        var remaining = 0
        /// Where in the program its body starts.
        var start = 0
    }

    private let program: ByteView
    private var place = 0
    /// Raw bytes that still have to be passed before the next primitive.
    private var bodyRemaining = 0
    private var loops = [3 of Loop](repeating: Loop())
    private var depth = 0
    /// The product of factors, or what is left of a total: no layout needs both.
    private var register = 1

    /// A walker over one value of `type`, from the first byte after the key.
    public init(_ type: ValueType) {
        self.init(program: ValueLayout.program(of: type))
    }

    init(program: ByteView) {
        self.program = program
    }

    /// The whole value has been passed.
    public var isComplete: Bool { place == program.count && bodyRemaining == 0 }

    /// The last byte passed was the end of a primitive, not the inside of a raw body.
    public var isBetweenPrimitives: Bool { bodyRemaining == 0 }

    /// Passes over as much of the value as `window` has, and returns how many bytes that was. What
    /// is left of the window, if the value is not complete, is the beginning of a primitive: it
    /// must come again, with more behind it.
    ///
    /// Throws what `Cursor` throws, and `damagedContainer` if pieces overrun their total. The error
    /// has no place in the stream.
    public mutating func advance(_ window: ByteView) throws(DecodeError) -> Int {
        var cursor = Cursor(window)
        while true {
            if bodyRemaining > 0 {
                let step = min(bodyRemaining, cursor.remaining)
                cursor.position += step
                bodyRemaining -= step
                if bodyRemaining > 0 { break }
            }
            if place == program.count { break }
            if try !step(&cursor) { break }
        }
        return cursor.position
    }

    /// One instruction. False if the window ends inside its primitive.
    @inline(__always)
    private mutating func step(_ cursor: inout Cursor) throws(DecodeError) -> Bool {
        switch program[place] {
        case UInt8(ascii: "s"):
            guard let head = try cursor.stringHead() else { return false }
            bodyRemaining = head.size
            place += 1
        case UInt8(ascii: "l"):
            guard try cursor.length() != nil else { return false }
            place += 1
        case UInt8(ascii: "8"):
            bodyRemaining = 8
            place += 1
        case UInt8(ascii: "g"):
            bodyRemaining = 16
            place += 1
        case UInt8(ascii: "("):
            guard let count = try cursor.count() else { return false }
            enter(count)
        case UInt8(ascii: ")"):
            repeatOrLeave()
        default:
            return try rareStep(&cursor)
        }
        return true
    }

    private mutating func enter(_ count: Int) {
        place += 1
        if count > 0 {
            precondition(depth < ValueWalker.depthMaximum)
            loops[depth] = Loop(remaining: count, start: place)
            depth += 1
            return
        }
        var open = 1
        while open > 0 {
            let letter = program[place]
            if letter == UInt8(ascii: ")") {
                open -= 1
            } else if letter == UInt8(ascii: "(") || letter == UInt8(ascii: "[") {
                open += 1
            }
            place += 1
        }
    }

    @inline(__always)
    private mutating func repeatOrLeave() {
        loops[depth - 1].remaining -= 1
        if loops[depth - 1].remaining > 0 {
            place = loops[depth - 1].start
        } else {
            depth -= 1
            place += 1
        }
    }

    /// Instructions of the layouts that Redis does not know.
    @inline(never)
    private mutating func rareStep(_ cursor: inout Cursor) throws(DecodeError) -> Bool {
        switch program[place] {
        case UInt8(ascii: "4"):
            bodyRemaining = 4
        case UInt8(ascii: "b"):
            guard let size = try cursor.count() else { return false }
            bodyRemaining = size
        case UInt8(ascii: "["):
            guard let count = cursor.little(as: UInt32.self) else { return false }
            enter(Int(count) + 1)
            return true
        case UInt8(ascii: "v"):
            guard let count = cursor.little(as: UInt32.self) else { return false }
            bodyRemaining = Int(count) * 4
        case UInt8(ascii: "p"):
            guard let total = try cursor.count() else { return false }
            register = total
        case UInt8(ascii: "q"):
            return try piece(&cursor)
        case UInt8(ascii: "d"):
            guard let factor = try cursor.count() else { return false }
            register = try ValueWalker.product(register, factor)
        case UInt8(ascii: "x"):
            bodyRemaining = try ValueWalker.product(register, 8)
        case UInt8(ascii: "m"):
            return try moduleOperand(&cursor)
        default:
            preconditionFailure("no such letter in a layout")
        }
        place += 1
        return true
    }

    private static func product(_ first: Int, _ second: Int) throws(DecodeError) -> Int {
        let (value, overflow) = first.multipliedReportingOverflow(by: second)
        guard !overflow, value <= Cursor.countLimit else { throw DecodeError(.lengthAboveLimit) }
        return value
    }

    /// One piece of a filter's data. A release wrote pieces as general strings, so a piece counts
    /// with its decoded size.
    private mutating func piece(_ cursor: inout Cursor) throws(DecodeError) -> Bool {
        guard register > 0 else {
            place += 1
            return true
        }
        let start = cursor.position
        guard let head = try cursor.stringHead() else { return false }
        let size: Int
        switch head {
        case .plain(let count):
            size = count
            bodyRemaining = count
        case .lzf(let compressedCount, let originalCount):
            size = originalCount
            bodyRemaining = compressedCount
        case .integer:
            cursor.position = start
            guard let string = try cursor.string() else { return false }
            size = string.decodedCount
        }
        guard size <= register else { throw DecodeError(.damagedContainer) }
        register -= size
        return true
    }

    /// One operand of MODULE_AUX, its opcode included, in the encoding of Redis.
    private mutating func moduleOperand(_ cursor: inout Cursor) throws(DecodeError) -> Bool {
        let start = cursor.position
        guard let opcode = try cursor.length() else { return false }
        var isWhole = true
        switch opcode {
        case 0: place += 1
        case 1, 2: isWhole = try cursor.length() != nil
        case 3: bodyRemaining = 4
        case 4: bodyRemaining = 8
        case 5:
            let head = try cursor.stringHead()
            isWhole = head != nil
            bodyRemaining = head?.size ?? 0
        default: throw DecodeError(.unknownOpcode)
        }
        if !isWhole { cursor.position = start }
        return isWhole
    }
}
