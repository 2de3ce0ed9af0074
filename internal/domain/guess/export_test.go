package guess

const Block = block

var RankOf = rankOf
