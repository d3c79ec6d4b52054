// Trials as columns: a tenth of the size of as many objects, and what a plot wants.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "cache/trial.h"

namespace attune {

// A column of values that repeat: the distinct ones in the order in which they came, and where each trial has
// its own.
class Dictionary {
 public:
  // Adds the next trial's value; `key` tells values apart.
  void add(const std::string& key, const nlohmann::json& value);
  void add(const std::string& text) { add(text, text); }
  void add_nothing() { at_.push_back(-1); }
  std::size_t size() const { return at_.size(); }
  nlohmann::json to_json() const;  // {"values": [...], "at": [...]}

 private:
  std::map<std::string, int> index_;
  nlohmann::json values_ = nlohmann::json::array();
  std::vector<int> at_;
};

class TrialColumns {
 public:
  void add(const Trial& trial);
  // {"count": n, "words": {name: dictionary}, "numbers": {name: list}, "axes": [...]}
  nlohmann::json to_json() const;

 private:
  // What a template says about the axes of its configs for a shape on a device.
  struct Known {
    std::map<std::string, nlohmann::json> axes;  // by pointer: name, help, domain
    std::string default_hash;                    // "" where the template does not serve the shape today
  };
  struct AxisColumn {
    nlohmann::json about;
    Dictionary values;
  };

  const Known& known(const Trial& trial);
  void add_words(const Trial& trial);
  void add_numbers(const Trial& trial, bool is_default);
  void add_config(const nlohmann::json& node, const std::string& pointer, const Known& known);

  std::size_t count_ = 0;
  std::map<std::string, Dictionary> words_;
  std::map<std::string, nlohmann::json> numbers_;
  std::map<std::pair<std::string, std::string>, AxisColumn> axes_;            // by pointer and name
  std::map<std::tuple<std::string, std::string, std::string>, Known> known_;  // template, shape, device
};

// The name of a device for people and dictionaries.
nlohmann::json device_summary(const DeviceFacts& device);

// The config that is served without tuning: its hash, or "" where the trial's template is not today's or does
// not serve the shape.
std::string default_config_hash(const Trial& trial);

}  // namespace attune
