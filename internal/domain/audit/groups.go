package audit

// A Group is events that people look for together.
type Group struct {
	Key   string // of messages
	Names []Name
}

// Groups are all events, each in one group.
var Groups = []Group{
	{"signin", []Name{ConsoleSignin, PasswordAccepted, ConsoleSignout, SigninConfirm, SessionEnd, CodeSend, PasswordLock, CodeBudgetEmpty, DeviceReplay, RememberedAdd, RememberedForget, RememberedReplay}},
	{"verify", []Name{IdentityVerify}},
	{"devices", []Name{MFABind, MFAUnbind, UserMFABind, UserMFAUnbind, MFAResynchronise, PasskeyCreate, PasskeyUpdate, PasskeyDelete, PasskeyCounter, U2FImport, U2FUpgrade, MobileBind, MobileModify, MobileUnbind,
		SecurityEmailBind, SecurityEmailUnbind, ActivationSend, ActivationUse, ProtectionAdd, ProtectionModify, ProtectionRemove, RecoveryCodesCreate, DevicesForget}},
	{"own", []Name{AccountReg, EmailConfirm, EmailModify, PasswordModify, UserPasswordModify, LocaleModify}},
	{"recovery", []Name{RecoveryCodeUse, PasswordForgot, PasswordReset, NotMe, CheckEnd, TicketCreate, RecoveryStart, RecoveryCancel, RecoveryFinish}},
	{"users", []Name{UserCreate, UserUpdate, UserDelete, RoleModify, ProfileCreate, ProfileUpdate, ProfileDelete, IdleDisable}},
	{"settings", []Name{PreferenceModify, PasswordPolicyModify, AliasModify, DomainAdd, DomainVerify, DomainRemove}},
	{"export", []Name{UserExport, AuditExport, ReportGenerate, ReportGet}},
	{"server", []Name{SetupLink, KeyRotate, DatabaseMove, DatabaseBackup, DatabaseRestore, DatabaseReopen, MessageRetry, SendAlarm}},
}
