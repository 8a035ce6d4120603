public import Bytes

/// A hash tag for every slot of a cluster, so that a key of our own can be put beside another.
public enum SlotTags {
    private static let bytesPerTag = 4

    /// Behind each other, filled up with zeros.
    private static let table = PermanentBytes(made())

    /// The tag whose hash slot is `slot`, 0...16383: at most four digits and lower-case letters, the
    /// same in every process. Valid for ever.
    public static func tag(of slot: Int) -> ByteView {
        let entry = table.view.slice(slot * bytesPerTag, bytesPerTag)
        var count = bytesPerTag
        while entry[count - 1] == 0 { count -= 1 }
        return entry.slice(0, count)
    }

    /// The shortest tag of each slot, of these the first in the order of its bytes.
    private static func made() -> [UInt8] {
        let alphabet = Array("0123456789abcdefghijklmnopqrstuvwxyz".utf8)
        var tags = [UInt8](repeating: 0, count: ClusterNodes.slotCount * bytesPerTag)
        var missing = ClusterNodes.slotCount
        for count in 1...bytesPerTag {
            var digits = [Int](repeating: 0, count: count)
            var tag = [UInt8](repeating: alphabet[0], count: count)
            var position = count - 1
            while position >= 0 {
                let start = tag.withByteView { $0.keySlot() } * bytesPerTag
                if tags[start] == 0 {
                    for index in 0..<count { tags[start + index] = tag[index] }
                    missing -= 1
                    if missing == 0 { return tags }
                }
                // Counts on by one, from the last place.
                position = count - 1
                while position >= 0 {
                    digits[position] = (digits[position] + 1) % alphabet.count
                    tag[position] = alphabet[digits[position]]
                    if digits[position] > 0 { break }
                    position -= 1
                }
            }
        }
        preconditionFailure("four characters reach every slot")
    }
}
