import Bytes

/// Texts that are cheap to make: eight hexadecimal digits, then a stretch of a fixed pool of words.
final class TextPool: @unchecked Sendable {
    private static let size = 1 << 16

    // Proof of Sendable: the buffer is never changed after init.
    private let pool: RegionBuffer

    init(seed: UInt64) {
        let words = [
            "amber", "birch", "cobalt", "delta", "ember", "fjord", "garnet", "harbor", "indigo",
            "jasper", "kelp", "lumen", "maple", "nectar", "onyx", "pebble", "quartz", "river",
            "saffron", "tundra", "umber", "velvet", "willow", "xenon", "yarrow", "zephyr", "io",
        ]
        var random = SplitMix(seed: seed)
        var text: [UInt8] = []
        while text.count < Self.size {
            text += Array(words[Int(random.next() % UInt64(words.count))].utf8)
            text.append(UInt8(ascii: " "))
        }
        do {
            var buffer = try RegionBuffer(capacity: Self.size)
            try text.withByteView { (view) throws(SystemError) in
                try buffer.append(view.slice(0, Self.size))
            }
            pool = buffer
        } catch {
            fatalError("no memory for the text pool")
        }
    }

    /// A 32-bit number that differs for the elements of one key.
    static func identity(_ salt: UInt64, _ element: Int) -> UInt32 {
        UInt32(truncatingIfNeeded: salt) &+ UInt32(truncatingIfNeeded: element) &* 0x9e37_79b1
    }

    /// Appends the text of `count` bytes that belongs to an element.
    func append(
        _ salt: UInt64, _ element: Int, _ count: Int, to buffer: inout RegionBuffer
    ) throws(SystemError) {
        let identity = Self.identity(salt, element)
        guard count >= 8 else {
            return try HexDigits.array(identity).withByteView { (view) throws(SystemError) in
                try buffer.append(view.slice(0, count))
            }
        }
        try buffer.append(little: HexDigits.word(identity))
        try appendPool(salt, element, from: 0, count - 8, to: &buffer)
    }

    /// Appends a piece of the text of an element, `bytes` being at least 8 from its start.
    func append(
        _ salt: UInt64, _ element: Int, piece bytes: Range<Int>, to buffer: inout RegionBuffer
    ) throws(SystemError) {
        try appendPool(salt, element, from: bytes.lowerBound - 8, bytes.count, to: &buffer)
    }

    private func appendPool(
        _ salt: UInt64, _ element: Int, from start: Int, _ count: Int,
        to buffer: inout RegionBuffer
    ) throws(SystemError) {
        var rest = count
        var offset =
            (Int((salt >> 32) &+ UInt64(element) &* 0x9e37) &+ start) & (Self.size - 1)
        while rest > 0 {
            let size = min(rest, Self.size - offset)
            try buffer.append(pool.view.slice(offset, size))
            rest -= size
            offset = 0
        }
    }
}

/// Numbers as eight hexadecimal digits.
enum HexDigits {
    /// The digits as eight bytes, to be stored little-endian.
    static func word(_ value: UInt32) -> UInt64 {
        // Spreads the eight nibbles, highest first, over eight bytes, then turns all into digits.
        var word = UInt64(value.byteSwapped)
        word = (word | word << 16) & 0x0000_ffff_0000_ffff
        word = (word | word << 8) & 0x00ff_00ff_00ff_00ff
        word = (word >> 4) & 0x000f_000f_000f_000f | (word & 0x000f_000f_000f_000f) << 8
        let letters = ((word &+ 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
        return word &+ 0x3030_3030_3030_3030 &+ letters &* 39
    }

    static func array(_ value: UInt32) -> [UInt8] {
        let word = word(value)
        return (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * UInt64($0))) }
    }

    /// Forty digits that belong to a seed, as ids and tokens of a master look.
    static func forty(seed: UInt64) -> String {
        var random = SplitMix(seed: seed)
        let digits = (0..<5).flatMap { _ in array(UInt32(truncatingIfNeeded: random.next())) }
        return String(decoding: digits, as: UTF8.self)
    }
}
