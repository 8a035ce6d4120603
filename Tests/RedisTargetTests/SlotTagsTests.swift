import Bytes
import Testing

@testable import RedisTarget

/// A key of our own can be put into any slot.
@Suite struct SlotTagsTests {
    @Test func everySlotHasItsTag() {
        var tags: Set<[UInt8]> = []
        for slot in 0..<16384 {
            let tag = SlotTags.tag(of: slot).array()
            #expect((1...4).contains(tag.count))
            let isPlain = tag.allSatisfy {
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
            }
            #expect(isPlain)
            let key = Array("df2redis:{".utf8) + tag + Array("}:x".utf8)
            #expect(key.withByteView { $0.keySlot() } == slot)
            tags.insert(tag)
        }
        #expect(tags.count == 16384)
    }

    /// Names outlive the process that gave them, so tags never change.
    @Test func tagsStayAsTheyAre() {
        for text in ["0", "z"] {
            let slot = Array(text.utf8).withByteView { $0.keySlot() }
            #expect(SlotTags.tag(of: slot).array() == Array(text.utf8))
        }
        // The last one that is found, in a count by another program.
        let last = Array("09wh".utf8)
        #expect(SlotTags.tag(of: last.withByteView { $0.keySlot() }).array() == last)
    }
}
