package passkey

// The kind of an authenticator decides its icon.
const (
	manager = "manager" // a password manager: its passkeys go where the person goes
	device  = "device"  // built into one device
	key     = "key"     // a security key
)

type maker struct{ kind, name string }

// Maker is the product as people know it; empty: not known. It is a claim of
// the browser's, good for a name that can be changed and for nothing else.
func (a AAGUID) Maker() string { return makers[a.String()].name }

// Icon is the asset for the kind of authenticator. What is not known gets that
// of a device: nothing tells it from a key.
func (a AAGUID) Icon() string {
	if m, known := makers[a.String()]; known {
		return "passkey-" + m.kind + ".svg"
	}
	return "passkey-" + device + ".svg"
}

// makers are those that people are most likely to have. Sources: the list of
// passkey providers that its makers keep up together
// (github.com/passkeydeveloper/passkey-authenticator-aaguids: aaguid.json, and
// combined_aaguid.json with the names of the FIDO metadata service), and for
// Yubico's keys its table "YubiKey hardware FIDO2 AAGUIDs" as
// github.com/JMarkstrom/aaguids has it. What neither names is not here.
var makers = map[string]maker{
	"ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4": {manager, "Google Password Manager"},
	"fbfc3007-154e-4ecc-8c0b-6e020557d7bd": {manager, "Apple Passwords"},
	"dd4ec289-e01d-41c9-bb89-70fa845d4bf2": {manager, "iCloud Keychain (managed)"},
	"d3452668-01fd-4c12-926c-83a4204853aa": {manager, "Microsoft Password Manager"},
	"53414d53-554e-4700-0000-000000000000": {manager, "Samsung Pass"},
	"bada5566-a7aa-401f-bd96-45619a55120d": {manager, "1Password"},
	"d548826e-79b4-db40-a3d8-11116f7e8349": {manager, "Bitwarden"},
	"531126d6-e717-415c-9320-3d9aa6981239": {manager, "Dashlane"},
	"f3809540-7f14-49c1-a8b3-8f813b225541": {manager, "Enpass"},
	"a10c6dd9-465e-4226-8198-c7c44b91c555": {manager, "Kaspersky Password Manager"},
	"eaecdef2-1c31-5634-8639-f1cbd9c00a08": {manager, "KeePassDX"},
	"fdb141b2-5d84-443e-8a35-4698c205a502": {manager, "KeePassXC"},
	"0ea242b4-43c4-4a1b-8b17-dd6d0b6baec6": {manager, "Keeper"},
	"b78a0a55-6ef8-d246-a042-ba0f6d55050c": {manager, "LastPass"},
	"22248c4c-7a12-46e2-9a41-44291b373a4d": {manager, "LogMeOnce"},
	"b84e4048-15dc-4dd0-8640-f4f60813c8af": {manager, "NordPass"},
	"fa37f553-f9b6-4adb-ac53-8bbb57ebdf0d": {manager, "Norton Password Manager"},
	"50726f74-6f6e-5061-7373-50726f746f6e": {manager, "Proton Pass"},
	"b35a26b2-8f6e-4697-ab1d-d44db4da28c6": {manager, "Zoho Vault"},

	"adce0002-35bc-c60a-648b-0b25f1f05503": {device, "Chrome on Mac"},
	"b5397666-4885-aa6b-cebf-e52262a439a2": {device, "Chromium"},
	"771b48fd-d3d4-4f74-9232-fc157ab0507a": {device, "Edge on Mac"},
	"08987058-cadc-4b81-b6e1-30de50dcbe96": {device, "Windows Hello"},
	"9ddd1817-af5a-4672-a2b9-3e3dd95000a9": {device, "Windows Hello"},
	"6028b017-b1d4-4c02-b4b3-afcdafc96bb2": {device, "Windows Hello"},

	"cb69481e-8ff7-4039-93ec-0a2729a154a8": {key, "YubiKey 5"},
	"ee882879-721c-4913-9775-3dfcce97072a": {key, "YubiKey 5"},
	"19083c3d-8383-4b18-bc03-8f1c9ab2fd1b": {key, "YubiKey 5"},
	"ff4dac45-ede8-4ec2-aced-cf66103f4335": {key, "YubiKey 5"},
	"fa2b99dc-9e39-4257-8f92-4a30d23c4118": {key, "YubiKey 5 with NFC"},
	"2fc0579f-8113-47ea-b116-bb5a8db9202a": {key, "YubiKey 5 with NFC"},
	"a25342c0-3cdc-4414-8e46-f4807fca511c": {key, "YubiKey 5 with NFC"},
	"d7781e5d-e353-46aa-afe2-3ca49f13332a": {key, "YubiKey 5 with NFC"},
	"c5ef55ff-ad9a-4b9f-b580-adebafe026d0": {key, "YubiKey 5Ci"},
	"a02167b9-ae71-4ac7-9a07-06432ebb6f1c": {key, "YubiKey 5Ci"},
	"24673149-6c86-42e7-98d9-433fb5b73296": {key, "YubiKey 5Ci"},
	"73bb0cd4-e502-49b8-9c6f-b59445bf720b": {key, "YubiKey 5 FIPS"},
	"57f7de54-c807-4eab-b1c6-1c9be7984e92": {key, "YubiKey 5 FIPS"},
	"905b4cb4-ed6f-4da9-92fc-45e0d4e9b5c7": {key, "YubiKey 5 FIPS"},
	"c1f9a0bc-1dd2-404a-b27f-8e29047a43fd": {key, "YubiKey 5 FIPS with NFC"},
	"fcc0118f-cd45-435b-8da1-9782b2da0715": {key, "YubiKey 5 FIPS with NFC"},
	"79f3c8ba-9e35-484b-8f47-53a5a0f5c630": {key, "YubiKey 5 FIPS with NFC"},
	"d8522d9f-575b-4866-88a9-ba99fa02f35b": {key, "YubiKey Bio"},
	"dd86a2da-86a0-4cbe-b462-4bd31f57bc6f": {key, "YubiKey Bio"},
	"7409272d-1ff9-4e10-9fc9-ac0019c124fd": {key, "YubiKey Bio"},
	"7d1351a6-e097-4852-b8bf-c9ac5c9ce4a3": {key, "YubiKey Bio"},
	"90636e1f-ef82-43bf-bdcf-5255f139d12f": {key, "YubiKey Bio"},
	"34744913-4f57-4e6e-a527-e9ec3c4b94e6": {key, "YubiKey Bio"},
	"f8a011f3-8c0a-4d15-8006-17111f9edc7d": {key, "Security Key by Yubico"},
	"b92c3f9a-c014-4056-887f-140a2501163b": {key, "Security Key by Yubico"},
	"6d44ba9b-f6ec-2e49-b930-0c8fe920cb73": {key, "Security Key NFC by Yubico"},
	"149a2021-8ef6-4133-96b8-81f8d5b7f1f5": {key, "Security Key NFC by Yubico"},
	"a4e9fc6d-4cbe-4758-b8ba-37598bb5bbaa": {key, "Security Key NFC by Yubico"},
	"e77e3c64-05e3-428b-8824-0cbeb04b829d": {key, "Security Key NFC by Yubico"},
	"b7d3f68e-88a6-471e-9ecf-2df26d041ede": {key, "Security Key NFC by Yubico"},

	"42b4fb4a-2866-43b2-9bf7-6c6669c2e5d3": {key, "Google Titan Security Key"},
	"833b721a-ff5f-4d00-bb2e-bdda3ec01e29": {key, "Feitian ePass FIDO2"},
	"ee041bce-25e5-4cdb-8f86-897fd6418464": {key, "Feitian ePass FIDO2 NFC"},
	"260e3021-482d-442d-838c-7edfbe153b7e": {key, "Feitian ePass FIDO2 NFC"},
	"234cd403-35a2-4cc2-8015-77ea280c77f5": {key, "Feitian ePass FIDO2 NFC"},
	"77010bd7-212a-4fc9-b236-d2ca5e9d4084": {key, "Feitian BioPass FIDO2"},
	"b6ede29c-3772-412c-8a78-539c1f4c62d2": {key, "Feitian BioPass FIDO2"},
	"3e22415d-7fdf-4ea4-8a0c-dd60c4249b9d": {key, "Feitian iePass FIDO"},
	"8876631b-d4a0-427f-5773-0ec71c9e0279": {key, "SoloKeys Solo"},
	"8976631b-d4a0-427f-5773-0ec71c9e0279": {key, "SoloKeys Solo Tap"},
	"9876631b-d4a0-427f-5773-0ec71c9e0279": {key, "SoloKeys Somu"},
	"2cd2f727-f6ca-44da-8f48-5c2e5da000a2": {key, "Nitrokey 3"},
	"998f358b-2dd2-4cbe-a43a-e8107438dfb3": {key, "OnlyKey"},
	"931327dd-c89b-406c-a81e-ed7058ef36c6": {key, "Swissbit iShield Key"},
	"5d629218-d3a5-11ed-afa1-0242ac120002": {key, "Swissbit iShield Key Pro"},
	"ab32f0c6-2239-afbb-c470-d2ef4e254db7": {key, "Token2 Security Key"},
	"eabb46cc-e241-80bf-ae9e-96fa6d2975cf": {key, "Token2 PIN+ Security Key"},
}
