// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_FIELD_READER_H_
#define MSEG_LABELS_FIELD_READER_H_

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "labels/yaml_reader.h"

namespace mseg {

// Reads the fields of one map. Every field that the language has is asked for by name; Finish()
// then reports what nobody asked for. Errors go to the source; nothing stops at the first one.
class FieldReader {
 public:
  // `what` names the map in messages: "spec of a Policy". A node that is no map is an error and
  // reads as an empty one.
  FieldReader(const SourceText& source, const YamlNode& node, std::string what);

  // The value of a field; null if it is absent. A field without a value (`from:`) is an error: it
  // may mean all or nothing, depending on who reads it.
  const YamlNode* Take(std::string_view name);
  const YamlNode* TakeRequired(std::string_view name);
  // A field of the language that this version refuses; `instead` may be empty.
  void Refuse(std::string_view name, std::string_view instead = {});
  void Finish();

  // Of the key of a field, or of the map.
  Spot SpotOf(std::string_view name) const;
  bool Has(std::string_view name) const { return Find(name) != std::string::npos; }
  bool usable() const { return usable_; }

 private:
  // Index of the key in the map's children, or npos.
  size_t Find(std::string_view name) const;

  const SourceText& source_;
  const YamlNode& node_;
  std::string what_;
  bool usable_;
  std::vector<std::string_view> known_;
  std::vector<std::string_view> supported_;
};

// The text of a scalar; null with an error for anything else.
const std::string* ScalarText(const SourceText& source, const YamlNode& node,
                              std::string_view what);

// The scalars of a list, or one scalar in its place. An empty list is an error: it could mean
// nothing or anything.
std::vector<SpottedText> TextList(const SourceText& source, const YamlNode& node,
                                  std::string_view what);

// One of some words. The words' order is the order of the results; -1 with an error for others.
int OneOf(const SourceText& source, const YamlNode& node, std::string_view what,
          const std::vector<std::string_view>& words);

}  // namespace mseg

#endif  // MSEG_LABELS_FIELD_READER_H_
