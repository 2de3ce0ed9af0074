package account

// A Role says what an identity is within its account.
type Role string

// The roles. Owner is the primary account's own identity; the others are those
// of RAM users.
const (
	Owner         Role = "owner"
	Administrator Role = "administrator" // manages users and settings (AliyunRAMFullAccess)
	Auditor       Role = "auditor"       // reads all, changes nothing
	User          Role = "user"
)

// UserRoles are the roles that a RAM user can have, highest first.
var UserRoles = []Role{Administrator, Auditor, User}

var ranks = map[Role]int{Owner: 4, Administrator: 3, Auditor: 2, User: 1}

// Rank orders the roles; 0 for what is no role.
func (r Role) Rank() int { return ranks[r] }

// Administers reports whether the role changes users and settings.
func (r Role) Administers() bool { return r.Rank() >= Administrator.Rank() }

// Audits reports whether the role sees the console.
func (r Role) Audits() bool { return r.Rank() >= Auditor.Rank() }

// ActsOn reports whether the role may change someone of the other: never the
// owner, and nobody above itself.
func (r Role) ActsOn(other Role) bool {
	return r.Administers() && other != Owner && other.Rank() > 0 && r.Rank() >= other.Rank()
}
