/// The text of a score in a compact sorted set.
enum ScoreText {
    /// Beyond this a whole score is text of a float (`double2ll` of redis: half of Int64's range).
    private static let wholeLimit = 4.611_686_018_427_388e18

    /// Whole numbers as integers, others as a reply has them, without the sign of an exponent
    /// (sorted_map.cc).
    static func bytes(_ score: Double) -> [UInt8] {
        if abs(score) < wholeLimit, score == score.rounded(.towardZero) {
            return Array(String(Int64(score)).utf8)
        }
        return FloatText.text(score, signsExponent: false)
    }
}
