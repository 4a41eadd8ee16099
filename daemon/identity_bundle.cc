// SPDX-License-Identifier: Apache-2.0
#include "daemon/identity_bundle.h"

#include <sodium.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "daemon/canonical.h"
#include "daemon/record_json.h"
#include "labels/text.h"
#include "mseg/abi.h"
#include "mseg/tcp_option.h"

namespace mseg {
namespace {

constexpr std::string_view kBundleDomain = "mseg identity records v1";
constexpr std::string_view kBundleKind = "mseg.io/IdentityRecords";
constexpr uint64_t kLargestNumber = 1ull << 53;  // that every reader of JSON keeps whole
constexpr size_t kMaxText = 4096;                // PATH_MAX
constexpr size_t kMaxAliases = 256;

absl::Status BadBundle(const std::string& what) { return absl::InvalidArgumentError(what); }

auto OrderOf(const ExecutableRecord& record) {
  return std::tie(record.id, record.path, record.trusted_path);
}

std::string TextOf(const Digest& digest) {
  return digest == Digest{} ? std::string() : DigestText(digest);
}

bool IsText(const std::string& text) {
  return text.size() <= kMaxText && FindInvalidUtf8(text) == std::string_view::npos;
}

absl::Status CheckLabels(const IdentityBundle& bundle, const Salt& salt) {
  uint64_t before = 0;
  for (const LabelRecord& record : bundle.labels) {
    const std::string name = Cat("label id ", ShortIdText(record.id));
    if (record.id <= before) return BadBundle(Cat(name, " is out of order"));
    before = record.id;
    if (LabelId(salt, record.labels) != record.id) {
      return BadBundle(
          Cat(name, " is not the id of `", record.labels.Text(),
              "` under this fleet's salt; do both hosts have the same fleet.salt_file?"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckExecutables(const IdentityBundle& bundle, const Salt& salt) {
  const ExecutableRecord* before = nullptr;
  for (const ExecutableRecord& record : bundle.executables) {
    const std::string name =
        Cat("executable id ", ShortIdText(record.id), " (", Printable(record.path, 200), ")");
    if (before != nullptr && OrderOf(*before) >= OrderOf(record)) {
      return BadBundle(Cat(name, " is out of order"));
    }
    before = &record;
    bool text = IsText(record.name) && IsText(record.path) && IsText(record.package);
    for (const std::string& alias : record.aliases) text = text && IsText(alias);
    if (!text || record.aliases.size() > kMaxAliases) {
      return BadBundle(Cat(name, ": names and paths are UTF-8 of at most ", kMaxText, " bytes"));
    }
    if (record.trusted_path && !record.path.starts_with('/')) {
      return BadBundle(Cat(name, ": a trusted path is an absolute one"));
    }
    if (ExecutableId(salt, record.digest, record.script) != record.id) {
      return BadBundle(Cat(name, " is not the id of its digest under this fleet's salt"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPairs(const IdentityBundle& bundle) {
  std::set<uint64_t> labels = {0}, executables = {0};
  for (const LabelRecord& record : bundle.labels) labels.insert(record.id);
  for (const ExecutableRecord& record : bundle.executables) executables.insert(record.id);
  IdentityPair before{};
  for (const IdentityPair& pair : bundle.pairs) {
    const std::string name = Cat("pair ", ShortIdText(pair.first), " ", ShortIdText(pair.second));
    if (&pair != &bundle.pairs.front() && pair <= before)
      return BadBundle(Cat(name, " is out of order"));
    before = pair;
    if (!labels.contains(pair.first) || !executables.contains(pair.second)) {
      return BadBundle(Cat(name, " names an id without a record"));
    }
  }
  return absl::OkStatus();
}

void WriteExecutable(const ExecutableRecord& record, CanonicalWriter* out) {
  out->Number(record.id);
  out->Bytes(record.digest);
  out->Bytes(record.script);
  out->Text(record.name);
  out->Text(record.path);
  out->Text(record.package);
  out->Number(record.trusted_path ? 1 : 0, 1);
  out->Count(record.aliases.size());
  for (const std::string& alias : record.aliases) out->Text(alias);
}

bool DecodeExecutable(CanonicalReader* in, ExecutableRecord* record) {
  record->id = in->Number();
  record->digest = in->Bytes<32>();
  record->script = in->Bytes<32>();
  record->name = in->Text();
  record->path = in->Text();
  record->package = in->Text();
  const uint64_t trusted = in->Number(1);
  record->trusted_path = trusted == 1;
  for (size_t n = in->Count(4); n > 0; --n) record->aliases.push_back(in->Text());
  return trusted <= 1;
}

// Keys come in their order and once each, so that no other bytes mean the same.
bool DecodeLabels(CanonicalReader* in, LabelRecord* record) {
  record->id = in->Number();
  std::string before;
  for (size_t n = in->Count(8); n > 0; --n) {
    const std::string key = in->Text();
    const std::string value = in->Text();
    if (key <= before || !CheckLabelKey(key).ok() || !CheckLabelValue(value).ok()) return false;
    record->labels.SetReserved(key, value);
    before = key;
  }
  return true;
}

RecordJson ExecutableJson(const ExecutableRecord& record) {
  return {{"id", ShortIdText(record.id)},
          {"digest", TextOf(record.digest)},
          {"script", TextOf(record.script)},
          {"name", record.name},
          {"path", record.path},
          {"package", record.package},
          {"trusted", record.trusted_path},
          {"aliases", record.aliases}};
}

ExecutableRecord ReadExecutable(const RecordJson& node, const std::string& where,
                                absl::Status* status) {
  RecordFields fields(node, where, status);
  ExecutableRecord record;
  record.id = fields.ShortId("id");
  record.digest = fields.FileDigest("digest");
  record.script = fields.FileDigest("script");
  record.name = fields.Text("name");
  record.path = fields.Text("path");
  record.package = fields.Text("package");
  record.trusted_path = fields.Flag("trusted");
  record.aliases = fields.Texts("aliases", kMaxAliases);
  fields.Finish();
  return record;
}

LabelRecord ReadLabels(const RecordJson& node, const std::string& where, absl::Status* status) {
  RecordFields fields(node, where, status);
  LabelRecord record;
  record.id = fields.ShortId("id");
  record.labels = fields.Labels("labels");
  fields.Finish();
  return record;
}

// `[label id, executable id]`
bool ReadPair(const RecordJson& node, IdentityPair* pair) {
  return node.is_array() && node.size() == 2 && node[0].is_string() && node[1].is_string() &&
         ParseShortId(node[0].get_ref<const std::string&>(), &pair->first) &&
         ParseShortId(node[1].get_ref<const std::string&>(), &pair->second);
}

void ReadLists(RecordFields* fields, absl::Status* status, IdentityBundle* bundle) {
  size_t n = 0;
  for (const RecordJson& node : fields->List("labels", kMaxBundleLabels)) {
    bundle->labels.push_back(ReadLabels(node, fields->Place(Cat("labels[", n++, "]")), status));
  }
  n = 0;
  for (const RecordJson& node : fields->List("executables", kMaxBundleExecutables)) {
    bundle->executables.push_back(
        ReadExecutable(node, fields->Place(Cat("executables[", n++, "]")), status));
  }
  n = 0;
  for (const RecordJson& node : fields->List("pairs", kMaxBundlePairs)) {
    IdentityPair pair;
    if (!ReadPair(node, &pair)) fields->Fail(Cat("pairs[", n, "]"), "must be two short ids");
    bundle->pairs.push_back(pair);
    ++n;
  }
}

}  // namespace

void SortBundle(IdentityBundle* bundle) {
  const auto by_id = [](const LabelRecord& a, const LabelRecord& b) { return a.id < b.id; };
  const auto same_id = [](const LabelRecord& a, const LabelRecord& b) { return a.id == b.id; };
  auto& labels = bundle->labels;
  std::sort(labels.begin(), labels.end(), by_id);
  labels.erase(std::unique(labels.begin(), labels.end(), same_id), labels.end());
  auto& executables = bundle->executables;
  std::sort(executables.begin(), executables.end(),
            [](const auto& a, const auto& b) { return OrderOf(a) < OrderOf(b); });
  executables.erase(
      std::unique(executables.begin(), executables.end(),
                  [](const auto& a, const auto& b) { return OrderOf(a) == OrderOf(b); }),
      executables.end());
  auto& pairs = bundle->pairs;
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
}

std::string BundlePayload(const IdentityBundle& bundle) {
  CanonicalWriter out(kBundleDomain);
  out.Number(bundle.host_id, 4);
  out.Number(bundle.sequence);
  out.Number(static_cast<uint64_t>(bundle.issued_us));
  out.Count(bundle.labels.size());
  for (const LabelRecord& record : bundle.labels) {
    out.Number(record.id);
    out.Count(record.labels.values().size());
    for (const auto& [key, value] : record.labels.values()) {
      out.Text(key);
      out.Text(value);
    }
  }
  out.Count(bundle.executables.size());
  for (const ExecutableRecord& record : bundle.executables) WriteExecutable(record, &out);
  out.Count(bundle.pairs.size());
  for (const auto& [label, executable] : bundle.pairs) {
    out.Number(label, 6);
    out.Number(executable, 6);
  }
  return out.Take();
}

absl::Status VerifyBundle(const IdentityBundle& bundle, const PublicKey& key, const Salt& salt) {
  const std::string payload = BundlePayload(bundle);
  if (crypto_sign_verify_detached(bundle.signature.data(),
                                  reinterpret_cast<const uint8_t*>(payload.data()), payload.size(),
                                  key.data()) != 0) {
    return BadBundle(Cat("the records are not signed with the key of host ", bundle.host_id));
  }
  if (absl::Status status = CheckLabels(bundle, salt); !status.ok()) return status;
  if (absl::Status status = CheckExecutables(bundle, salt); !status.ok()) return status;
  return CheckPairs(bundle);
}

std::string BundleText(const IdentityBundle& bundle) {
  RecordJson labels = RecordJson::array(), executables = RecordJson::array();
  RecordJson pairs = RecordJson::array();
  for (const LabelRecord& record : bundle.labels) {
    labels.push_back({{"id", ShortIdText(record.id)}, {"labels", LabelsJson(record.labels)}});
  }
  for (const ExecutableRecord& record : bundle.executables) {
    executables.push_back(ExecutableJson(record));
  }
  for (const auto& [label, executable] : bundle.pairs) {
    pairs.push_back(RecordJson::array({ShortIdText(label), ShortIdText(executable)}));
  }
  return RecordText({{"kind", kBundleKind},
                     {"version", 1},
                     {"host", bundle.host_id},
                     {"sequence", bundle.sequence},
                     {"issued", RecordTimeText(bundle.issued_us)},
                     {"labels", std::move(labels)},
                     {"executables", std::move(executables)},
                     {"pairs", std::move(pairs)},
                     {"signature", HexText(bundle.signature)}});
}

absl::StatusOr<IdentityBundle> ReadBundle(std::string_view text, std::string_view file) {
  const absl::StatusOr<RecordJson> tree = ParseRecordJson(text, file, kMaxBundleBytes);
  if (!tree.ok()) return tree.status();
  absl::Status status;
  RecordFields fields(*tree, Cat(file, ": error: "), &status);
  const std::string kind = fields.Text("kind");
  if (status.ok() && kind != kBundleKind) fields.Fail("kind", Cat("must be ", kBundleKind));
  if (fields.Number("version", 1) != 1) fields.Fail("version", "must be 1");
  IdentityBundle bundle;
  bundle.host_id = static_cast<uint32_t>(fields.Number("host", kMaxHostId));
  bundle.sequence = fields.Number("sequence", kLargestNumber);
  bundle.issued_us = fields.Time("issued");
  ReadLists(&fields, &status, &bundle);
  bundle.signature = fields.Hex<64>("signature");
  fields.Finish();
  if (!status.ok()) return status;
  return bundle;
}

std::string EncodeBundle(const IdentityBundle& bundle) {
  CanonicalWriter out("");
  out.Text(BundlePayload(bundle));
  out.Bytes(bundle.signature);
  return out.Take();
}

absl::StatusOr<IdentityBundle> DecodeBundle(std::string_view bytes) {
  CanonicalReader outer(bytes, "");
  const std::string payload = outer.Text();
  IdentityBundle bundle;
  bundle.signature = outer.Bytes<64>();
  CanonicalReader in(payload, kBundleDomain);
  bool good = true;
  bundle.host_id = static_cast<uint32_t>(in.Number(4));
  bundle.sequence = in.Number();
  bundle.issued_us = static_cast<int64_t>(in.Number());
  for (size_t n = in.Count(12); n > 0 && good; --n) {
    good = DecodeLabels(&in, &bundle.labels.emplace_back());
  }
  for (size_t n = in.Count(80); n > 0 && good; --n) {
    good = DecodeExecutable(&in, &bundle.executables.emplace_back());
  }
  for (size_t n = in.Count(12); n > 0; --n) {
    const uint64_t label = in.Number(6);
    bundle.pairs.emplace_back(label, in.Number(6));
  }
  if (!good || !outer.Done() || !in.Done()) {
    return absl::DataLossError("identity records cannot be decoded");
  }
  return bundle;
}

}  // namespace mseg
