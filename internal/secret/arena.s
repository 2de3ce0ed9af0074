// The compiler takes functions without a body only beside an assembly file:
// they are bound by name (arena.go).
