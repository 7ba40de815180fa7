# A model that joblib wrote, and inputs to compare answers with.
python - <<END
import os

import joblib
import numpy
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

X, y = load_iris(return_X_y=True)
os.mkdir("legacy")
joblib.dump(DecisionTreeClassifier().fit(X, y), "legacy/model.joblib")
numpy.save("holdout.npy", X)
END
