import Bytes
import Testing

@testable import Wire

/// Promise: no bytes make a reader trap, hang, or read beyond the value; they give elements or
/// errors.
struct DamagedValueTests {
    /// Runs everything that looks into a value; true if the check lets it pass.
    private func lookInto(
        _ type: ValueType, _ bytes: [UInt8], _ check: inout ContainerCheck,
        _ reader: inout ValueReader, _ streams: inout StreamReader, _ buffer: inout RegionBuffer
    ) -> Bool {
        bytes.withByteView { view in
            var elements = 0
            var isComplete = false
            do throws(DecodeError) {
                switch type.family {
                case .list, .set, .hash, .zset:
                    try reader.open(type: type, value: view)
                    while try reader.next() != nil { elements += 1 }
                    isComplete = true
                case .stream:
                    let stream = try ReadStream(&streams, type, view)
                    elements = stream.entries.count
                    isComplete = true
                default:
                    break
                }
            } catch {
                #expect(error.offset == 0)
            }
            if type.family == .stream, type != .streamListpacks {
                buffer.clear()
                try? StreamRewriter.rewrite(view, from: type, to: .streamListpacks, into: &buffer)
            }
            guard let verdict = try? check.check(type: type, value: view) else { return false }
            // What the check lets pass, the readers read to its end.
            if type.family.isCore && type != .string {
                #expect(isComplete && verdict.elementCount == elements, "\(type) \(bytes)")
            }
            return true
        }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func flippedBytes(_ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var check = try ContainerCheck()
        var reader = try ValueReader()
        var streams = try StreamReader()
        var buffer = try RegionBuffer()
        var passed = 0
        var caught = 0
        for (type, sound) in try SampleValues.all() {
            #expect(lookInto(type, sound, &check, &reader, &streams, &buffer), "\(type)")
            for round in 0..<400 {
                var bytes = sound
                for _ in 0...(round % 4) {
                    let index = Int.random(in: bytes.indices, using: &random)
                    bytes[index] =
                        Bool.random(using: &random)
                        ? UInt8.random(in: 0...255, using: &random)
                        : bytes[index] ^ 1 << (round % 8)
                }
                if lookInto(type, bytes, &check, &reader, &streams, &buffer) {
                    passed += 1
                } else {
                    caught += 1
                }
            }
        }
        #expect(caught > 3000 && passed > 500, "seed \(seed)")
    }

    /// Cut anywhere, filled up with anything, or of another type.
    @Test func cutsAndOtherTypes() throws {
        var check = try ContainerCheck()
        var reader = try ValueReader()
        var streams = try StreamReader()
        var buffer = try RegionBuffer()
        for (type, sound) in try SampleValues.all() {
            for size in sound.indices {
                let cut = Array(sound[..<size])
                #expect(!lookInto(type, cut, &check, &reader, &streams, &buffer))
                for fill in [0, 0xff] as [UInt8] {
                    let filled = cut + [UInt8](repeating: fill, count: sound.count - size)
                    _ = lookInto(type, filled, &check, &reader, &streams, &buffer)
                }
            }
            for other in ValueType.allCases {
                _ = lookInto(other, sound, &check, &reader, &streams, &buffer)
            }
        }
    }

    /// Huge counts in few bytes neither hang nor take memory.
    @Test func hugeClaims() throws {
        var check = try ContainerCheck()
        var reader = try ValueReader()
        var streams = try StreamReader()
        var buffer = try RegionBuffer()
        let counts: [[UInt8]] = [
            [0x80, 0xff, 0xff, 0xff, 0xff], [0x81, 0, 0, 1, 0, 0, 0, 0, 0],
            [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ]
        for count in counts {
            for type in ValueType.allCases {
                for tail in [[], [0, 0, 0], [UInt8](repeating: 0, count: 64)] as [[UInt8]] {
                    _ = lookInto(type, count + tail, &check, &reader, &streams, &buffer)
                }
            }
        }
        // Counts in the groups of a stream.
        let head: [UInt8] = [0, 0, 0, 0]
        for count in counts {
            for prefix in [[], [1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1, 0]] as [[UInt8]] {
                let zeros = [UInt8](repeating: 0, count: prefix.count == 7 ? 8 : 0)
                let value = head + prefix + zeros + count
                #expect(
                    !lookInto(.streamListpacks, value, &check, &reader, &streams, &buffer))
            }
        }
    }

    @Test func randomBytes() throws {
        let seed: UInt64 = 20
        var random = SeededRandom(seed: seed)
        var check = try ContainerCheck()
        var reader = try ValueReader()
        var streams = try StreamReader()
        var buffer = try RegionBuffer()
        for _ in 0..<4000 {
            let bytes = (0..<Int.random(in: 0...60, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            for type in ValueType.allCases {
                _ = lookInto(type, bytes, &check, &reader, &streams, &buffer)
            }
        }
    }
}
